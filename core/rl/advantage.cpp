#include "core/rl/advantage.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "core/base/error.h"
#include "core/rl/algorithm_config.h"

namespace cohort::rl {

namespace {

std::vector<double> to_vector(const at::Tensor& values) {
  const at::Tensor flat = values.detach().to(at::kCPU, at::kDouble).contiguous();
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

at::Tensor to_tensor(const std::vector<double>& values) {
  const at::Tensor out = at::empty({static_cast<int64_t>(values.size())}, at::kDouble);
  std::copy(values.begin(), values.end(), out.data_ptr<double>());
  return out;
}

double mean_of(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return sum / static_cast<double>(values.size());
}

double std_of(const std::vector<double>& values, const std::string& kind) {
  const double mean = mean_of(values);
  double squares = 0;
  for (const double v : values) squares += (v - mean) * (v - mean);
  const auto count = static_cast<double>(values.size());
  return std::sqrt(squares / (kind == "population" ? count : count - 1.0));
}

/// Calls `advantage(rewards of one group)` for each group and puts the results back in place.
template <class Function>
at::Tensor per_group(const at::Tensor& reward_B, const at::Tensor& group_B, Function advantage) {
  const std::vector<double> reward = to_vector(reward_B);
  const at::Tensor group = group_B.to(at::kCPU, at::kLong).contiguous();
  if (group.numel() != reward_B.numel()) throw Fault("advantage: one group is needed for each reward");
  std::map<int64_t, std::vector<size_t>> members;
  for (size_t i = 0; i < reward.size(); ++i) members[group.data_ptr<int64_t>()[i]].push_back(i);

  std::vector<double> out(reward.size());
  for (const auto& [id, positions] : members) {
    std::vector<double> mine;
    for (const size_t i : positions) mine.push_back(reward[i]);
    const std::vector<double> result = advantage(mine);
    for (size_t k = 0; k < positions.size(); ++k) out[positions[k]] = result[k];
  }
  return to_tensor(out);
}

/// r_i − mean(r): exactly 0 where all are equal, r itself in a group of one.
std::vector<double> centred(std::vector<double> rewards) {
  if (rewards.size() == 1) return rewards;
  const auto [low, high] = std::minmax_element(rewards.begin(), rewards.end());
  if (*low == *high) return std::vector<double>(rewards.size(), 0.0);
  const double mean = mean_of(rewards);
  for (double& r : rewards) r -= mean;
  return rewards;
}

}  // namespace

at::Tensor group_normalised_advantage(const at::Tensor& reward_B, const at::Tensor& group_B, const GroupScaling& scaling) {
  const std::vector<double> all = to_vector(reward_B);
  const double batch_std = scaling.scope == "batch" && all.size() > 1 ? std_of(all, scaling.std) : 1.0;
  return per_group(reward_B, group_B, [&](const std::vector<double>& rewards) {
    std::vector<double> advantage = centred(rewards);
    if (scaling.scope == "none") return advantage;
    const double std = scaling.scope == "batch" ? batch_std : rewards.size() > 1 ? std_of(rewards, scaling.std) : 1.0;
    for (double& a : advantage) a = a == 0 ? 0.0 : a / (std + scaling.eps);
    return advantage;
  });
}

at::Tensor leave_one_out_advantage(const at::Tensor& reward_B, const at::Tensor& group_B) {
  return per_group(reward_B, group_B, [](const std::vector<double>& rewards) {
    std::vector<double> advantage = centred(rewards);
    const auto count = static_cast<double>(rewards.size());
    if (rewards.size() > 1) {
      for (double& a : advantage) a *= count / (count - 1.0);
    }
    return advantage;
  });
}

at::Tensor token_rewards(const at::Tensor& reward_B, const at::Tensor& kl_N, double kl_coef, const Packing& packing) {
  const std::vector<double> reward = to_vector(reward_B);
  const at::Tensor sequence = packing.sequence_N.to(at::kCPU).contiguous();
  const auto* owner = sequence.data_ptr<int64_t>();
  const int64_t tokens = packing.tokens();
  std::vector<double> out(static_cast<size_t>(tokens), 0.0);
  for (int64_t n = 0; n < tokens; ++n) {
    const bool last = n + 1 == tokens || owner[n + 1] != owner[n];
    if (last) out[static_cast<size_t>(n)] = reward[static_cast<size_t>(owner[n])];
  }
  const at::Tensor reward_N = to_tensor(out);
  return kl_N.defined() ? reward_N - kl_coef * kl_N.detach().to(at::kCPU, at::kDouble) : reward_N;
}

at::Tensor discounted_returns(const at::Tensor& token_reward_N, double gamma, const Packing& packing) {
  std::vector<double> value = to_vector(token_reward_N);
  const at::Tensor sequence = packing.sequence_N.to(at::kCPU).contiguous();
  const auto* owner = sequence.data_ptr<int64_t>();
  for (int64_t n = packing.tokens() - 2; n >= 0; --n) {
    if (owner[n] == owner[n + 1]) value[static_cast<size_t>(n)] += gamma * value[static_cast<size_t>(n + 1)];
  }
  return to_tensor(value);
}

at::Tensor whiten(const at::Tensor& values_N) {
  std::vector<double> values = to_vector(values_N);
  if (values.size() < 2) return at::zeros({values_N.numel()}, at::kDouble);
  const double mean = mean_of(values);
  const double std = std_of(values, "sample");
  for (double& v : values) v = (v - mean) / std::sqrt(std * std + 1e-8);
  return to_tensor(values);
}

at::Tensor reinforce_plus_plus_advantage(const at::Tensor& reward_B, const at::Tensor& kl_N, double kl_coef, double gamma,
                                         const Packing& packing) {
  return whiten(discounted_returns(token_rewards(reward_B, kl_N, kl_coef, packing), gamma, packing));
}

at::Tensor reinforce_plus_plus_baseline_advantage(const at::Tensor& reward_B, const at::Tensor& group_B, const Packing& packing) {
  return whiten(packing.spread(per_group(reward_B, group_B, centred)));
}

at::Tensor compute_advantage(const AlgorithmConfig& config, const at::Tensor& reward_B, const at::Tensor& group_B, const at::Tensor& kl_N,
                             const Packing& packing) {
  if (config.use_kl_in_reward && !kl_N.defined()) throw Fault("use_kl_in_reward needs the KL of each token");
  const at::Tensor kl = config.use_kl_in_reward ? kl_N : at::Tensor();
  if (config.adv_estimator == "reinforce_plus_plus") {
    return reinforce_plus_plus_advantage(reward_B, kl, config.kl_coef, config.gamma, packing);
  }
  // The others see one reward per answer.
  const at::Tensor reward = kl.defined() ? reward_B.to(at::kDouble) - config.kl_coef * packing.sum(kl.detach()) : reward_B;
  if (config.adv_estimator == "grpo") {
    const GroupScaling scaling{config.norm_adv_by_std_in_grpo ? config.adv_std_scope : "none", config.adv_std, config.adv_eps};
    return packing.spread(group_normalised_advantage(reward, group_B, scaling));
  }
  if (config.adv_estimator == "rloo") return packing.spread(leave_one_out_advantage(reward, group_B));
  if (config.adv_estimator == "reinforce_plus_plus_baseline") return reinforce_plus_plus_baseline_advantage(reward, group_B, packing);
  throw Fault("unknown adv_estimator '" + config.adv_estimator + "'");
}

}  // namespace cohort::rl
