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

/// Of every token but the first of each sequence, one sequence after the other: [Σ (n - 1)] log-probability after the tokens before it,
/// softmax over the whole vocabulary in fp32. Without gradients. Beside the hidden states it holds logits of a few rows at a time.
at::Tensor next_token_logprobs(CausalLM& model, const std::vector<std::vector<int32_t>>& sequences);

/// Scores of a scalar head at the last token of each sequence: [B].
at::Tensor sequence_scores(CausalLM& model, const std::vector<std::vector<int32_t>>& sequences);

}  // namespace cohort::model
