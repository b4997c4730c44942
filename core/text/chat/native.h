#pragma once
/// The chat templates that this project renders with code of its own: those of DeepSeek-V3 and R1, Qwen, Llama 3, SmolLM2 and ChatML.
///
/// They give what Jinja gives for the published text (templates: DeepSeek-AI, Qwen team, Meta, Hugging Face; the variants for training:
/// trl), or refuse. Refused, though Jinja prints something: lists and objects where text is expected, which it prints as Python would.

#include <memory>
#include <string_view>
#include <vector>

#include "core/text/chat/chat_template.h"
#include "core/text/chat/value.h"

namespace cohort::text::chat {

/// Collects the parts of a conversation.
class PartWriter {
 public:
  /// Text of the template.
  PartWriter& own(std::string_view text) { return add(text, false); }
  /// Text of the messages or of the variables.
  PartWriter& given(std::string_view text) { return add(text, true); }
  std::vector<ChatPart> take() { return std::move(parts_); }

 private:
  PartWriter& add(std::string_view text, bool from_message);
  std::vector<ChatPart> parts_;
};

struct Conversation {
  const std::vector<Value>& messages;  // objects
  const ChatOptions& options;

  Value variable(const char* name) const;
  /// messages[i].role == role; false outside the list.
  bool has_role(size_t i, std::string_view role) const { return i < messages.size() && messages[i]["role"].is(role); }
  /// For templates that read messages[0]. InputError of an empty conversation.
  const Value& first() const;
};

/// A row of the table of known templates.
struct NativeTemplate {
  const char* name;
  std::vector<const char*> hashes;  ///< of the texts (source_hash) that it renders
  void (*render)(const Conversation& conversation, PartWriter& out);
};

// One function for each file of this folder.
std::vector<NativeTemplate> chatml_templates();
std::vector<NativeTemplate> deepseek_templates();
std::vector<NativeTemplate> llama_templates();
std::vector<NativeTemplate> qwen_templates();

/// Of a template's text without the line ends, at most two, that Jinja drops behind a last block: XXH3-128.
std::string source_hash(std::string_view source);

/// Null where no row has the text, or the name.
std::unique_ptr<ChatTemplate> find_native_template(std::string_view source);
std::unique_ptr<ChatTemplate> native_template_named(std::string_view name);

}  // namespace cohort::text::chat
