#pragma once
/// When the policy that sampled (μ, the rollout engine's numerics or an older version) is not the policy the trainer calls old (π_old).
/// Everything here is under stop-gradient and works on  log w_t = log π_old − log μ,  clamped to ±20 before exp.
///
/// Importance weights, multiplied onto the policy loss (`rollout_is`, `rollout_is_outside`; lower = 0: no lower bound):
///   token,    truncate   w = clamp(w_t, lower, C)                       TIS (Yao et al. 2025), C = 2
///   token,    mask       w = w_t if lower ≤ w_t ≤ C else 0              IcePop (arXiv 2510.18855), 0.5 … 5
///   sequence, truncate   w = clamp(Π_t w_t, lower, C)
///   sequence, mask       w = Π_t w_t if lower ≤ Π_t w_t ≤ C else 0      MIS (TRL sequence_mask), C = 3
/// Token weights are biased, sequence weights have a variance that grows with length.
///
/// Rejection (`rollout_rs`): tokens leave the batch (policy loss, KL, entropy and every count) unless the statistic is within bounds.
///   token_k1, seq_sum_k1, seq_mean_k1   lower ≤ exp(Σ or mean of log w) ≤ upper. seq_mean_k1 is the geometric filter, 0.999 … 1.001
///   token_k2, token_k3, seq_{sum,mean,max}_{k2,k3}   statistic ≤ upper. seq_mean_k3 is the k3 filter, 0.001 … 0.01
/// with k2 = ½ log²w, k3 = w − log w − 1. Names are verl's (rollout_corr_helper.py), except that verl bounds 1/w in the k1 family.

#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/rl/packed.h"

namespace cohort::rl {

struct RolloutCorrectionConfig;

/// Names of rejection statistics, "none" first, for the config reader.
const std::vector<std::string>& rejection_statistics();

/// Weights [N] in the dtype of old_logprob_N; all 1 with rollout_is "none". Throws Fault for an unknown name.
at::Tensor rollout_weights(const at::Tensor& old_logprob_N, const at::Tensor& rollout_logprob_N, const Packing& packing,
                           const RolloutCorrectionConfig& config);

/// 1 where the token stays, 0 where it is rejected: [N] in the dtype of old_logprob_N.
at::Tensor rejection_keep(const at::Tensor& old_logprob_N, const at::Tensor& rollout_logprob_N, const Packing& packing,
                          const RolloutCorrectionConfig& config);

/// DeepSeek-V3.2 off-policy sequence mask (arXiv 2512.02556; TRL off_policy_mask_threshold): 0 at tokens with A < 0 of answers where
/// mean_t(log μ − log π_θ) > threshold, else 1. Multiplied onto the policy loss. [N], dtype of logprob_N.
at::Tensor off_policy_sequence_keep(const at::Tensor& logprob_N, const at::Tensor& rollout_logprob_N, const at::Tensor& advantage_N,
                                    const Packing& packing, double threshold);

/// How far μ and π_old are apart, as sums that can be added over micro-batches and ranks.
struct RolloutMismatch {
  double tokens = 0, sequences = 0;
  double kl = 0;                    ///< Σ_N (log μ − log π_old)
  double k3_kl = 0;                 ///< Σ_N (w − log w − 1)
  double ppl_ratio = 0;             ///< Σ_B exp(mean_t(log μ − log π_old))
  double chi2_token = 0;            ///< Σ_N w²
  double chi2_seq = 0;              ///< Σ_B (Π w)²
  double probs_diff = 0;            ///< Σ_N |π_old − μ|
  double probs_diff_max = 0;        ///< max
  double logprob_abs_diff = 0;      ///< Σ_N |log π_old − log μ|
  double logprob_abs_diff_max = 0;  ///< max

  void add(const RolloutMismatch& other);
  /// Means (χ² less 1) under verl's names: rollout_corr/{kl,k3_kl,ppl_ratio,chi2_token,chi2_seq},
  /// training/rollout_probs_diff_{mean,max}, and training/rollout_logprob_abs_diff_{mean,max}. Empty without tokens.
  std::vector<std::pair<std::string, double>> metrics() const;
};

/// Answers without a token are not counted.
RolloutMismatch rollout_mismatch(const at::Tensor& old_logprob_N, const at::Tensor& rollout_logprob_N, const Packing& packing);

}  // namespace cohort::rl
