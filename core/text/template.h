#pragma once
/// How a question becomes a prompt, and what a completion of that prompt must look like.
///
/// A prompt is encoded as one text, so that its tokens are those that a model has seen, but names of special tokens are looked for only in
/// what the template writes: a question that contains "</think>" or "<|Assistant|>" is just text. A prompt that its template does not begin
/// with a special token begins with what the tokenizer puts before texts: BOS (Tokenizer::begin_ids). Prompt ids and completion ids are
/// kept apart from the start: that is the loss mask.
///
///   name           prompt                                                        completion
///   r1_zero        the instructions of R1's Table 1 in our words, then           <think>…</think><answer>…</answer>
///                  "User: {q}\nAssistant:"
///   r1_zero_brief  "User: {q}\nAssistant:" (a tiny model needs every byte)       the same
///   chat           <|begin|><|User|>{q}<|Assistant|>                             <think>\n…\n</think>\n{answer}
///   chat_think     the same, then <think>\n (R1's template of February 2025)     …\n</think>\n{answer}
///   plain          {q}                                                           {answer}
///   model          the conversation as the model's own chat template writes it   {answer}, behind the thought of a model that thinks
///   model_boxed    the same                                                      reasoning that ends in \boxed{answer}
///   model_gsm8k    the same                                                      reasoning, then a line "#### answer" (GSM8K's form)
///   model_think    the same                                                      <think>…</think>{answer}; without the opening tag where
///                                                                                the chat template writes it
///   model_r1       the same                                                      <think>…</think><answer>…</answer>; likewise
///
/// The last five are for models with a tokenizer.json. They ask for no form: that is for `system_prompt` and `prompt_examples` to do.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/text/chat/chat_template.h"
#include "core/text/tokenizer.h"

namespace cohort::text {

/// The parts of a completion.
enum class Structure {
  kThinkAnswer,  ///< both in tags, nothing but white space outside
  kThinkText,    ///< reasoning in tags, then free text
  kText,         ///< free text
  kBoxed,        ///< free text with the answer in its last \boxed{}
  kHashes,       ///< free text, then "####" and the answer
};

/// A stage's prompt.
struct PromptConfig {
  std::string name;
  std::string system_prompt;
  std::vector<std::string> examples;

  template <class Visitor>
  void visit(Visitor& v, const char* doc = "prompt template: core/text/template.h has their table") {
    v.text("template", name, doc);
    v.text("system_prompt", system_prompt,
           "system message of every prompt; only with the templates model…; empty: the chat template's own");
    v.texts("prompt_examples", examples,
            "what was said before every question, user and assistant in turn: shows the form that answers have; only with the templates "
            "model…");
    v.rule(is_known(), "template", known_names(), name);
    v.rule(is_conversation() || system_prompt.empty(), "system_prompt", "none with template " + name, "one");
    v.rule(is_conversation() || examples.empty(), "prompt_examples", "none with template " + name, "some");
    v.rule(examples.size() % 2 == 0, "prompt_examples", "an answer to each question", std::to_string(examples.size()) + " texts");
  }
  bool is_known() const;
  bool is_conversation() const;  ///< one of the templates model…
  static const std::vector<std::string>& names();
  static std::string known_names();

  bool operator==(const PromptConfig&) const = default;
};

/// {"template", "system_prompt", "prompt_examples"}, the last two only where there are some; and back. InputError "WHERE: …".
nlohmann::json prompt_to_json(const PromptConfig& config);
PromptConfig prompt_from_json(const nlohmann::json& object, const std::string& where);

/// What was said before a question.
struct Turn {
  std::string role;  ///< "system", "user" or "assistant"
  std::string content;
};

struct TemplatePart {
  enum class Kind {
    kText,     ///< tags in it are special tokens where the tokenizer has them, otherwise text
    kSpecial,  ///< must be a special token of the tokenizer
  };
  Kind kind;
  std::string text;
};

class PromptTemplate {
 public:
  PromptTemplate(std::string name, std::vector<TemplatePart> before, std::vector<TemplatePart> after, Structure structure, bool opens_think)
      : name_(std::move(name)), before_(std::move(before)), after_(std::move(after)), structure_(structure), opens_think_(opens_think) {}

  /// Of a model's own chat template, which must outlive it.
  PromptTemplate(PromptConfig config, Structure structure, const ChatTemplate& chat, const Tokenizer& tokenizer);

  /// InputError when the tokenizer lacks a special token that the template needs, or its chat template refuses the conversation.
  std::vector<int32_t> render(std::string_view question, const Tokenizer& tokenizer) const;

  /// The same after other turns, in which a system message comes first and takes the place of the configured one. Only of a conversation
  /// (Fault).
  std::vector<int32_t> render(const std::vector<Turn>& turns, std::string_view question, const Tokenizer& tokenizer) const;
  bool is_conversation() const { return chat_ != nullptr; }

  const std::string& name() const { return name_; }
  Structure structure() const { return structure_; }
  bool opens_think() const { return opens_think_; }     ///< the prompt ends inside the think block: the completion has no opening tag
  bool opens_think(std::string_view completion) const;  ///< the same; of completion_form(): where the block closes before it opens

 private:
  std::vector<ChatPart> conversation(const std::vector<Turn>& turns, std::string_view question, const Tokenizer& tokenizer) const;

  std::string name_;
  std::vector<TemplatePart> before_;
  std::vector<TemplatePart> after_;
  Structure structure_;
  friend PromptTemplate completion_form(const std::string& name);

  bool opens_think_;
  bool may_open_think_ = false;  ///< of completion_form()
  PromptConfig config_;
  const ChatTemplate* chat_ = nullptr;
};

/// The first five templates of the table above; the reference lives as long as the program. InputError for another name.
const PromptTemplate& find_template(std::string_view name);
const std::vector<std::string>& template_names();
bool is_template(std::string_view name);

/// Any of the table. The tokenizer must outlive the result. InputError for another name, and where a template model… is wanted and the
/// tokenizer has no chat template, or one that cannot be used.
PromptTemplate make_prompt_template(const PromptConfig& config, const Tokenizer& tokenizer);

/// What follows the last </think>. Nothing where a thought is not closed: the last <think>, or that of the prompt (`opens_think`). Without
/// any tag the whole completion.
std::string_view behind_thought(std::string_view completion, bool opens_think);

/// For completions alone, with no tokenizer at hand: takes apart those of any template of the table; `render` of a template model… gives
/// the bare question. InputError for another name.
PromptTemplate completion_form(const std::string& name);

/// A completion taken apart. think and answer are without white space at both ends.
struct Parsed {
  bool well_formed = false;
  /// What is there, also when the completion is not well formed (an unclosed block runs to the end).
  std::string think;
  /// Likewise, but empty unless its place is complete: with kThinkAnswer both answer tags, with kThinkText a closing think tag before it,
  /// with kBoxed the last box (core/text/boxed.h, as in a ground truth), with kHashes what follows the last "####" on its line. So a
  /// completion without them has no answer. With kText, which has no place for a thought, what behind_thought() leaves.
  std::string answer;
};

/// Well formed means, by structure: kThinkAnswer: exactly one <think>…</think>, then exactly one <answer>…</answer>, white space between
/// and around; kThinkText: exactly one <think>…</think> (no opening tag where the prompt has it), then text, no answer tags; kText: text
/// without any tag; kBoxed and kHashes: text with exactly one answer in its form, after which comes white space only (kBoxed: or a full
/// stop or a closing $). Thought and answer must not be empty; that of kBoxed and kHashes is all that comes before. Tags are found in the
/// text, so a tag spelled by bytes is a tag. O(length of the completion).
Parsed parse_completion(const PromptTemplate& prompt_template, std::string_view completion);

/// The same for token ids: one end token at the end is left out; any other special token that is not a tag makes it malformed.
/// Whether the completion was cut at the length limit is not known here (reward.h).
Parsed parse_completion(const PromptTemplate& prompt_template, const Tokenizer& tokenizer, std::span<const int32_t> completion_ids);

/// The inverse: the completion with the end token that parse_completion() takes apart into `think` and `answer`. With kText, which has no
/// place for it, `think` is left out. An empty thought gives an empty block, which is not well formed.
std::vector<int32_t> render_completion(const PromptTemplate& prompt_template, const Tokenizer& tokenizer, std::string_view think,
                                       std::string_view answer);

}  // namespace cohort::text
