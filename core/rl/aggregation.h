#pragma once
/// From token losses to one number.
///
/// A loss is a sum over micro-batches and ranks that ends at the full-batch value: every normaliser is a *global* count that the caller
/// passes in, so neither the loss nor any gradient depends on how the batch was split. Gradients of ranks and micro-batches are therefore
/// added, never averaged. With ℓ the token loss and keep ∈ {0, 1} (0: rejected or filtered token, which no count below includes):
///
///   token-mean              Σ keep·ℓ / global_tokens                                  DAPO (arXiv 2503.14476); TRL "dapo"
///   seq-mean-token-mean     Σ_i (1/|o_i|) Σ_t keep·ℓ / global_sequences               GRPO (arXiv 2402.03300); TRL "grpo"
///   seq-mean-token-sum      Σ keep·ℓ / global_sequences                               verl
///   seq-mean-token-sum-norm Σ keep·ℓ / (global_sequences · max_response_length)       verl 0.9 (older: without the sequences)
///   dr_grpo                 the same, under the name TRL gives it                     Dr. GRPO (arXiv 2503.20783)
///   bnpo                    Σ keep·ℓ / (tokens of this micro-batch · micro_batches)   TRL "bnpo"; DEPENDS on the split, by definition
///
/// |o_i| counts the kept tokens of answer i.

#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>
#include <vector>

#include "core/rl/packed.h"

namespace cohort::rl {

/// What a loss is divided by. Counts are those of the optimizer step's whole batch: all micro-batches of all ranks.
struct AggregationScale {
  double global_tokens = 0;        ///< kept tokens
  double global_sequences = 0;     ///< answers with at least one kept token
  double max_response_length = 0;  ///< L_max of the config; for dr_grpo and seq-mean-token-sum-norm
  double micro_batches = 1;        ///< of all ranks; for bnpo

  /// Adds the counts of one micro-batch or rank.
  void add(const at::Tensor& keep_N, const Packing& packing);
};

/// Names accepted below, for the config reader.
const std::vector<std::string>& aggregation_modes();

/// The share of the final loss that one unit of token loss makes: [N], dtype of keep_N, no gradient. A token's weight depends only on
/// its own answer and on `scale` (bnpo: on the micro-batch). Throws Fault for an unknown mode or a normaliser that is not positive.
at::Tensor token_weights(const at::Tensor& keep_N, const Packing& packing, std::string_view mode, const AggregationScale& scale);

/// Σ weight·ℓ as a float64 scalar that carries gradient to token_loss_N. d/dℓ_n is weight_n: no sum enters it.
at::Tensor weighted_sum(const at::Tensor& token_loss_N, const at::Tensor& weight_N, const Packing& packing);

/// weighted_sum(ℓ, token_weights(…)).
at::Tensor aggregate(const at::Tensor& token_loss_N, const at::Tensor& keep_N, const Packing& packing, std::string_view mode,
                     const AggregationScale& scale);

}  // namespace cohort::rl
