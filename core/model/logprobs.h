#pragma once
/// Log-probabilities of given completions under a model.

#include <cstdint>
#include <vector>

#include "core/model/causal_lm.h"

namespace cohort::model {

/// A prompt and the completion whose tokens count.
struct Completion {
  std::vector<int32_t> prompt;
  std::vector<int32_t> completion;  ///< at least one token
};

/// Of every completion token, one completion after the other: [N] log-probability and entropy under softmax(logits / temperature), over the
/// first `vocab_limit` tokens. With gradients unless they are switched off.
LogprobEntropy completion_logprobs(CausalLM& model, const std::vector<Completion>& batch, double temperature, int64_t vocab_limit,
                                   MoeTrace* trace = nullptr);

/// Scores of a scalar head at the last token of each sequence: [B].
at::Tensor sequence_scores(CausalLM& model, const std::vector<std::vector<int32_t>>& sequences);

}  // namespace cohort::model
