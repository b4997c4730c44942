#pragma once
/// How a question becomes a prompt, and what a completion of that prompt must look like.
///
/// A prompt is put together from token ids: special tokens by id, text by encode(). It is never made by tokenising a rendered string,
/// so a question that contains "</think>" or "<|Assistant|>" is just text. Prompt ids and completion ids are kept apart from the start:
/// that is the loss mask.
///
///   name           prompt                                                        completion
///   r1_zero        the instructions of R1's Table 1 in our words, then           <think>…</think><answer>…</answer>
///                  "User: {q}\nAssistant:"
///   r1_zero_brief  "User: {q}\nAssistant:" (a tiny model needs every byte)       the same
///   chat           <|begin|><|User|>{q}<|Assistant|>                             <think>\n…\n</think>\n{answer}
///   chat_think     the same, then <think>\n (R1's template of February 2025)     …\n</think>\n{answer}
///   plain          {q}                                                           {answer}

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/text/tokenizer.h"

namespace cohort::text {

/// The parts of a completion.
enum class Structure {
  kThinkAnswer,  ///< both in tags, nothing but white space outside
  kThinkText,    ///< reasoning in tags, then free text
  kText,         ///< free text
};

struct TemplatePart {
  enum class Kind {
    kText,     ///< encode()
    kSpecial,  ///< must be a special token of the tokenizer
    kTag,      ///< the special token where the tokenizer has one, otherwise the tag's text
  };
  Kind kind;
  std::string text;
};

class PromptTemplate {
 public:
  PromptTemplate(std::string name, std::vector<TemplatePart> before, std::vector<TemplatePart> after, Structure structure, bool opens_think)
      : name_(std::move(name)), before_(std::move(before)), after_(std::move(after)), structure_(structure), opens_think_(opens_think) {}

  /// InputError when the tokenizer lacks a special token that the template needs.
  std::vector<int32_t> render(std::string_view question, const Tokenizer& tokenizer) const;

  const std::string& name() const { return name_; }
  Structure structure() const { return structure_; }
  bool opens_think() const { return opens_think_; }  ///< the prompt ends inside the think block: the completion has no opening tag

 private:
  std::string name_;
  std::vector<TemplatePart> before_;
  std::vector<TemplatePart> after_;
  Structure structure_;
  bool opens_think_;
};

/// The templates of the table above; the reference lives as long as the program. InputError for another name.
const PromptTemplate& find_template(std::string_view name);
const std::vector<std::string>& template_names();
bool is_template(std::string_view name);

/// Appends a tag as a prompt or completion has it: by id where the tokenizer has it, else by its text.
void append_tag(std::vector<int32_t>& ids, const Tokenizer& tokenizer, std::string_view tag);

/// A completion taken apart. think and answer are without white space at both ends.
struct Parsed {
  bool well_formed = false;
  std::string think;   ///< what is there, also when the completion is not well formed (an unclosed block runs to the end)
  std::string answer;  ///< as above, but empty unless its place is complete: with kThinkAnswer both answer tags, with kThinkText a
                       ///< closing think tag before it. So a completion without tags has no answer.
};

/// Well formed means, by structure: kThinkAnswer: exactly one <think>…</think>, then exactly one <answer>…</answer>, white space between
/// and around; kThinkText: exactly one <think>…</think> (no opening tag where the prompt has it), then text, no answer tags; kText: text
/// without any tag. Thought and answer must not be empty. Tags are found in the text, so a tag spelled by bytes is a tag. O(length of the
/// completion).
Parsed parse_completion(const PromptTemplate& prompt_template, std::string_view completion);

/// The same for token ids: one end token at the end is left out; any other special token that is not a tag makes it malformed.
/// Whether the completion was cut at the length limit is not known here (reward.h).
Parsed parse_completion(const PromptTemplate& prompt_template, const Tokenizer& tokenizer, std::span<const int32_t> completion_ids);

/// The inverse: the completion with the end token that parse_completion() takes apart into `think` and `answer`. With kText, which has no
/// place for it, `think` is left out. An empty thought gives an empty block, which is not well formed.
std::vector<int32_t> render_completion(const PromptTemplate& prompt_template, const Tokenizer& tokenizer, std::string_view think,
                                       std::string_view answer);

}  // namespace cohort::text
