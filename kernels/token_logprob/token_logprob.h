#pragma once
/// Log-probability of given tokens, and the entropy, under softmax(logits · inverse_temperature).

#include <ATen/core/Tensor.h>

namespace cohort::kernels {

struct TokenLogprob {
  at::Tensor logprob_N;
  at::Tensor entropy_N;  ///< -Σ p log p, in nats
  at::Tensor probs_NV;   ///< for the backward pass; undefined unless asked for
};

/// logits [N, V], ids [N] int64. Only the first `vocab_limit` columns exist for the softmax: rows of the vocabulary that no token has.
TokenLogprob token_logprob(const at::Tensor& logits, const at::Tensor& ids, double inverse_temperature, int64_t vocab_limit,
                           bool keep_probs);

/// → dlogits [N, V]; dentropy may be undefined.
at::Tensor token_logprob_backward(const at::Tensor& dlogprob, const at::Tensor& dentropy, const TokenLogprob& forward,
                                  const at::Tensor& ids, double inverse_temperature, int64_t vocab_limit);

struct RowSoftmax {
  float sum;             ///< Σ of the numerators
  float log_normaliser;  ///< log(sum) + max: log p_j = x_j·inverse_temperature - log_normaliser
};
/// One row: numerators exp(x·inverse_temperature - max) into out[0, vocab_limit).
/// The sampler uses it too, so the log-probability it records is the one the trainer computes.
RowSoftmax softmax_logits_row(const float* logits, int64_t vocab_limit, float inverse_temperature, float* out);

}  // namespace cohort::kernels
