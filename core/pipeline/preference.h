#pragma once
/// A reward model's input and its score.

#include <memory>
#include <vector>

#include "core/pipeline/stage_context.h"

namespace cohort::pipeline {

/// What the model reads of an answer: to a HELPFUL question the prompt and what follows the reasoning, to a SAFETY question the prompt and
/// the whole completion (R1 section 3.1). Token ids as they were sampled.
std::vector<int32_t> preference_input(const records::Group& group, const records::Sample& sample, const text::Tokenizer& tokenizer);

/// The probability sigmoid(score) under the reward model of a stage. Keeps the model alive; the context's tokenizer must outlive it.
reward::Preference load_preference(const StageContext& context, const std::string& stage_name);

/// A pair (rejected not empty): -log σ(r_chosen - r_rejected). A label: -log σ(±r).
struct Comparison {
  std::vector<int32_t> chosen, rejected;
  bool good = true;
};

/// Forward pass and loss of a micro-batch under a scalar head. `comparisons` are those of the whole batch, so the losses add up.
struct ComparisonLoss {
  at::Tensor loss;     ///< scalar with gradient
  double right = 0.0;  ///< comparisons that the model decides as they say
};
ComparisonLoss comparison_loss(model::CausalLM& model, const std::vector<const Comparison*>& batch, double comparisons);

}  // namespace cohort::pipeline
