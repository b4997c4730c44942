#pragma once
/// Estimators of KL(π_θ ‖ π_ref) from the sampled tokens (J. Schulman, "Approximating KL divergence", 2020). With
/// x = log π_ref − log π_θ, clamped to ±20 in k3:
///
///   k1   −x               unbiased, may be negative
///   k2   x²/2             biased value; its gradient is the one of the KL on-policy
///   k3   eˣ − x − 1       unbiased, ≥ 0, low variance; clamped to ±10 (verl "low_var_kl"). DeepSeek's choice (GRPO, as a loss term)
///   k1+, k3+              the value of k1 or k3 with the gradient of k2 ("straight-through"; verl)
///
/// In the loss:    ℓ_t += kl_loss_coef · kl_t.      In the reward: see token_rewards() in advantage.h.

#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>
#include <vector>

namespace cohort::rl {

/// Names accepted below, for the config reader.
const std::vector<std::string>& kl_types();

/// The estimator at each token, [N] (any shape), with gradient to logprob. Throws Fault for an unknown type.
at::Tensor kl_estimate(const at::Tensor& logprob, const at::Tensor& ref_logprob, std::string_view type);

/// DeepSeek-V3.2 (arXiv 2512.02556; TRL use_bias_correction_kl): tokens come from π_old, not π_θ, so the estimate is multiplied by
/// ρ_t = π_θ/π_old, through which gradient flows. log ρ is clamped to ±20.
at::Tensor off_policy_kl(const at::Tensor& kl, const at::Tensor& logprob, const at::Tensor& old_logprob);

}  // namespace cohort::rl
