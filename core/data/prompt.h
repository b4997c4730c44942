#pragma once
/// Questions as prompts.

#include <cstdint>
#include <vector>

#include "core/data/question_set.h"
#include "core/records/records.pb.h"
#include "core/text/template.h"

namespace cohort::data {

/// The prompt that asks a question: the whole conversation with a template model…. A template with room for one text gets the system
/// message, where there is one, as its first line; InputError for a question with earlier user and assistant turns, which such a template
/// cannot hold.
std::vector<int32_t> render_prompt(const records::Question& question, const text::PromptTemplate& prompt_template,
                                   const text::Tokenizer& tokenizer);

/// Its length. Both must outlive the result.
PromptLength prompt_length(const text::PromptTemplate& prompt_template, const text::Tokenizer& tokenizer);

}  // namespace cohort::data
