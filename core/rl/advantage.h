#pragma once
/// Advantages: how much better an answer is than the others to the same question.
///
/// All functions take the *whole* rollout batch of all ranks (rewards are a few numbers per answer): baselines and standard deviations
/// never depend on where an answer was sampled. reward_B float64 [B], group_B int64 [B] says which answers share a question. Results are
/// float64 without gradient. Sums run over the members of a group in order of their position.
///
/// A group whose rewards are all equal has advantage exactly 0. A group of one has no baseline: its reward is kept as it is (verl).

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "core/rl/packed.h"

namespace cohort::rl {

struct AlgorithmConfig;

/// What the centred reward is divided by.
struct GroupScaling {
  std::string scope = "group";  ///< "group": std of the group (GRPO); "batch": of all rewards (Lite PPO); "none" (Dr. GRPO)
  std::string std = "sample";   ///< "sample": N−1 (TRL, verl, OpenRLHF); "population": N (GRPO-Zero)
  double eps = 1e-4;            ///< added to the std: 1e-4 TRL, 1e-6 verl, 1e-9 OpenRLHF
};

/// GRPO (DeepSeekMath, arXiv 2402.03300, §4.1.2):  Â_i = (r_i − mean(r)) / (std(r) + eps).  [B]
/// With scope "none" it is Dr. GRPO's (arXiv 2503.20783):  Â_i = r_i − mean(r).
at::Tensor group_normalised_advantage(const at::Tensor& reward_B, const at::Tensor& group_B, const GroupScaling& scaling);

/// RLOO (arXiv 2402.14740):  Â_i = r_i − 1/(G−1) Σ_{j≠i} r_j = G/(G−1) (r_i − mean(r)).  [B]
at::Tensor leave_one_out_advantage(const at::Tensor& reward_B, const at::Tensor& group_B);

/// Reward of each token:  r_t = 1[t = T]·r − kl_coef·kl_t.  [N], float64. Its sum over an answer is the reward with the sequence-level KL.
/// `kl_N` may be undefined: then there is no KL.
at::Tensor token_rewards(const at::Tensor& reward_B, const at::Tensor& kl_N, double kl_coef, const Packing& packing);

/// Discounted return of each token:  R_t = Σ_{t'≥t} γ^{t'−t} r_{t'}.  [N]
at::Tensor discounted_returns(const at::Tensor& token_reward_N, double gamma, const Packing& packing);

/// (x − mean) / sqrt(var + 1e-8) over all N tokens, var with N−1 (verl masked_whiten). 0 for fewer than two tokens.  [N]
at::Tensor whiten(const at::Tensor& values_N);

/// REINFORCE++ (arXiv 2501.03262): returns of token_rewards, whitened over the global batch. No group is needed.  [N]
at::Tensor reinforce_plus_plus_advantage(const at::Tensor& reward_B, const at::Tensor& kl_N, double kl_coef, double gamma,
                                         const Packing& packing);

/// REINFORCE++ with baseline: r_i − mean(r of its group), the same at each token, whitened over the global batch.  [N]
at::Tensor reinforce_plus_plus_baseline_advantage(const at::Tensor& reward_B, const at::Tensor& group_B, const Packing& packing);

/// The estimator the config names, KL in the reward included, as one advantage per token.  [N], float64.
/// `kl_N` (old policy against reference, see kl.h) is read only with use_kl_in_reward. Throws Fault when it is then undefined.
at::Tensor compute_advantage(const AlgorithmConfig& config, const at::Tensor& reward_B, const at::Tensor& group_B, const at::Tensor& kl_N,
                             const Packing& packing);

}  // namespace cohort::rl
