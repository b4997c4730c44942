#pragma once
/// A reward model's input and its score.

#include <memory>
#include <vector>

#include "core/pipeline/stage_context.h"

namespace cohort::pipeline {

/// What the model reads of an answer: to a HELPFUL question the prompt and the final answer without the reasoning, to a SAFETY question the
/// prompt and the whole completion (R1 section 3.1).
std::vector<int32_t> preference_input(const records::Group& group, const records::Sample& sample,
                                      const text::PromptTemplate& prompt_template, const text::Tokenizer& tokenizer);

/// The probability sigmoid(score) under the reward model of a stage. Keeps the model alive.
reward::Preference load_preference(const StageContext& context, const std::string& stage_name, const std::string& prompt_template);

}  // namespace cohort::pipeline
