#pragma once
/// The loss of one micro-batch, all parts together:
///
///   L = Σ_n weight_n · [ w_n · m_n · ℓ_policy(n)  +  β · kl_n  −  c · H_n ]
///
/// weight: aggregation.h (global normalisers), w and m: rollout_correction.h, ℓ_policy: policy_loss.h, β·kl: kl.h, H: entropy of the
/// policy at the token, which the model computes from its logits. Minimising L raises entropy for c = entropy_coeff > 0.
/// L of the micro-batches of all ranks add up to the loss of the batch; gradients are added likewise.

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

#include "core/rl/aggregation.h"
#include "core/rl/packed.h"

namespace cohort::rl {

struct AlgorithmConfig;

/// [N] each. A tensor the config makes no use of may be undefined; one that is needed and undefined is a Fault.
struct LossInputs {
  Packing packing;
  at::Tensor logprob_N;          ///< log π_θ, with gradient
  at::Tensor old_logprob_N;      ///< log π_old; not needed with rollout_correction.bypass_mode
  at::Tensor rollout_logprob_N;  ///< log μ; needed by bypass_mode, rollout_is and off_policy_mask_threshold
  at::Tensor ref_logprob_N;      ///< log π_ref; needed by use_kl_loss
  at::Tensor entropy_N;          ///< with gradient; needed by entropy_coeff, else only reported
  at::Tensor advantage_N;        ///< compute_advantage()
  at::Tensor keep_N;             ///< rejection_keep · overlong_keep; undefined: all ones. `scale` must count the same tokens
};

/// Sums that can be added over micro-batches and ranks.
struct LossMetrics {
  double tokens = 0;             ///< kept tokens
  double loss = 0, pg_loss = 0;  ///< shares of the batch's loss: add up to it
  double kl_loss = 0;            ///< the KL term before its coefficient
  double entropy = 0;            ///< Σ over kept tokens, as the four below
  double pg_clipfrac = 0, pg_clipfrac_lower = 0;
  double ppo_kl = 0;      ///< Σ (log π_old − log π_θ)
  double rollout_is = 0;  ///< Σ w

  void add(const LossMetrics& other);
  /// actor/{loss,pg_loss,kl_loss,entropy,pg_clipfrac,pg_clipfrac_lower,ppo_kl} and rollout_corr/rollout_is_mean. Entropy and kl_loss are
  /// 0 when their inputs were not given.
  std::vector<std::pair<std::string, double>> metrics() const;
};

struct LossResult {
  at::Tensor loss;  ///< float64 scalar with gradient
  LossMetrics metrics;
};

/// Tokens to train on, before any loss: rejection_keep (with the config's rollout_rs) times overlong_keep (with overlong_filter). [N].
/// `truncated_B` may be undefined without overlong_filter, the log-probabilities without rollout_rs.
at::Tensor trained_tokens(const AlgorithmConfig& config, const at::Tensor& old_logprob_N, const at::Tensor& rollout_logprob_N,
                          const at::Tensor& truncated_B, const Packing& packing);

LossResult grpo_loss(const AlgorithmConfig& config, const LossInputs& inputs, const AggregationScale& scale);

}  // namespace cohort::rl
