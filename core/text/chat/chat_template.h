#pragma once
/// How a published model writes a conversation down: the template of its tokenizer_config.json (`chat_template`) or chat_template.jinja.
///
/// Known templates are recognised by their text and rendered by code of this project (native.h); any other goes through a bounded
/// interpreter of Jinja (core/text/jinja). Both give the string that Jinja gives, cut into parts by where they come from: text of the
/// template, in which names of special tokens are those tokens, and text of the messages, in which they are only text. So what a user
/// writes cannot open or close a turn. The concatenation of the parts is the string that `apply_chat_template(tokenize=False)` of
/// transformers gives.

#include <cstdint>
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace cohort::text {

/// A stretch of a rendered conversation.
struct ChatPart {
  std::string text;
  bool from_message = false;  ///< written by a user, a model or a tool: special tokens are not looked for in it

  bool operator==(const ChatPart&) const = default;
};

/// 26 Jul 2024.
std::tm usual_date();

struct ChatOptions {
  bool add_generation_prompt = false;
  std::string bos_token, eos_token;                                     ///< the tokens' names, for templates that write them
  nlohmann::ordered_json variables = nlohmann::ordered_json::object();  ///< further ones, as enable_thinking, tools, date_string
  /// What strftime_now() writes. As it stands the date that Llama 3's templates write where nothing else is said: what is trained on must
  /// not depend on the day.
  std::tm today = usual_date();
};

class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;

  /// `messages`: [{"role": …, "content": …, …}, …], as the template expects them; it may print objects (calls of tools, their arguments),
  /// and does so in the order of their keys. Neighbouring parts differ in from_message; none is empty.
  /// InputError where Jinja would raise (raise_exception, an undefined value used, a type that does not fit), and at the limits of the
  /// interpreter. A function of its arguments alone.
  virtual std::vector<ChatPart> render(const nlohmann::ordered_json& messages, const ChatOptions& options) const = 0;

  /// "qwen2.5" …, or "jinja".
  virtual std::string_view name() const = 0;
};

/// `source`: the text of a template. `where` is named in messages. InputError for what is no template, or uses what the interpreter does
/// not have, with the line and the construct.
std::unique_ptr<ChatTemplate> make_chat_template(std::string_view source, const std::string& where);

/// Of a model's folder: chat_template.jinja, else `chat_template` of tokenizer_config.json (a string, or a list of named ones, of which
/// "default" counts). Null where there is none. Files outside the folder are not read (core/base/folder.h).
std::unique_ptr<ChatTemplate> load_chat_template(const std::string& folder);

/// InputError unless variables is an object without what ChatOptions says elsewhere.
void require_variables(const ChatOptions& options);

/// The concatenation.
std::string text_of(const std::vector<ChatPart>& parts);

}  // namespace cohort::text
