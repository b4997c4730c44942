#pragma once
/// Policy losses per token, to be minimised. With ρ = π_θ/π_old (log-ratio clamped to ±20), A the advantage, sg = stop-gradient:
///
///   vanilla  PPO/GRPO   ℓ = −min(ρ A, clip(ρ, 1−ε_low, 1+ε_high) A)               arXiv 1707.06347, 2402.03300; ε_high > ε_low: DAPO
///            dual clip  where A < 0:  ℓ = min(ℓ, −c A)                             arXiv 1912.09729; clip_ratio_c, 0 is off
///            two-sided  ρ is first capped at δ in the unclipped branch             INTELLECT-2, arXiv 2505.07291; clip_ratio_delta, 0 is
///            off
///   gspo     the same clip of  s = sg[exp(mean_t log ρ)] · π_θ/sg[π_θ]             arXiv 2507.18071 §4.3; meant for seq-mean-token-mean
///   cispo    ℓ = −sg[clip(ρ, cispo_ratio_min, cispo_ratio_max)] A log π_θ          arXiv 2506.13585; the bounds are of ρ itself
///                                                                                  (TRL, ScaleRL: max 5), not distances from 1 (verl)
///   sapo     ℓ = −(4/τ) σ(τ (ρ−1)) A, τ by the sign of A                           arXiv 2511.20347
///
/// The gradient of a token is a function of that token (gspo: of its own answer) only, bit for bit.

#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>
#include <vector>

#include "core/rl/packed.h"

namespace cohort::rl {

/// Names accepted as `mode` below, for the config reader.
const std::vector<std::string>& policy_loss_modes();

struct PolicyLossOptions {
  std::string mode = "vanilla";
  double clip_ratio_low = 0.2;
  double clip_ratio_high = 0.28;
  double clip_ratio_c = 3.0;
  double clip_ratio_delta = 0.0;
  double cispo_ratio_min = 0.0;
  double cispo_ratio_max = 5.0;
  double sapo_tau_pos = 1.0;
  double sapo_tau_neg = 1.05;
};

struct PolicyLoss {
  at::Tensor loss_N;           ///< with gradient to logprob_N
  at::Tensor clipped_N;        ///< bool: the clip decided the loss of this token (cispo: changed its ratio)
  at::Tensor clipped_lower_N;  ///< bool: the dual clip did
  at::Tensor log_ratio_N;      ///< clamped log ρ, no gradient
};

/// All [N]; logprob_N requires gradient, the others do not. Throws Fault for an unknown mode.
PolicyLoss policy_loss(const at::Tensor& logprob_N, const at::Tensor& old_logprob_N, const at::Tensor& advantage_N, const Packing& packing,
                       const PolicyLossOptions& options);

}  // namespace cohort::rl
