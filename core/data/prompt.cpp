#include "core/data/prompt.h"

#include "core/base/error.h"

namespace cohort::data {

std::vector<int32_t> render_prompt(const records::Question& question, const text::PromptTemplate& prompt_template,
                                   const text::Tokenizer& tokenizer) {
  if (prompt_template.is_conversation()) {
    std::vector<text::Turn> turns;
    for (const records::Turn& turn : question.turns()) turns.push_back({turn.role(), turn.content()});
    return prompt_template.render(turns, question.text(), tokenizer);
  }
  if (question.turns_size() > 1 || (question.turns_size() == 1 && question.turns(0).role() != "system"))
    throw InputError("template " + prompt_template.name() + ": expected questions of one user message after at most one system message, found " +
                     std::to_string(question.turns_size() + 1) + " messages");
  return prompt_template.render(whole_text(question), tokenizer);
}

PromptLength prompt_length(const text::PromptTemplate& prompt_template, const text::Tokenizer& tokenizer) {
  return [&](const records::Question& question) {
    return static_cast<int64_t>(render_prompt(question, prompt_template, tokenizer).size());
  };
}

}  // namespace cohort::data
