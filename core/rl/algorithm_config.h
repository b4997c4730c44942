#pragma once
/// The `algorithm` section of a reinforcement-learning stage. Keys follow verl. The defaults are a stable recipe: DAPO's clip, token mean
/// and dynamic sampling, no KL, truncated importance sampling. R1's own values are in configs/r1.yaml.

#include <cstdint>
#include <string>

#include "core/config/field.h"

namespace cohort::rl {

/// Dynamic sampling (dynamic_sampling.h).
struct FilterGroupsConfig {
  bool enable = true;
  std::string metric = "seq_reward";
  int64_t max_num_gen_batches = 10;

  template <class Visitor>
  void visit(Visitor& v) {
    v.flag("enable", enable, "replace groups whose answers all got the same by further questions (DAPO dynamic sampling)");
    v.choice("metric", metric, {"seq_reward", "acc"}, "what must differ inside a group: total reward or verifier outcome");
    v.integer("max_num_gen_batches", max_num_gen_batches, config::between(1, 1 << 16), "rounds of sampling per step at most");
  }
};

/// Rollout policy against trainer policy (rollout_correction.h).
struct RolloutCorrectionConfig {
  std::string rollout_is = "token";
  std::string rollout_is_outside = "truncate";
  double rollout_is_threshold = 2.0;
  double rollout_is_threshold_lower = 0.0;
  std::string rollout_rs = "none";
  double rollout_rs_threshold = 0.0;
  double rollout_rs_threshold_lower = 0.0;
  double off_policy_mask_threshold = 0.0;
  bool bypass_mode = false;

  template <class Visitor>
  void visit(Visitor& v) {
    v.choice("rollout_is", rollout_is, {"none", "token", "sequence"}, "importance weight old policy / rollout policy, per token or answer");
    v.choice("rollout_is_outside", rollout_is_outside, {"truncate", "mask"},
             "weights outside the thresholds are clamped (TIS) or set to 0 (IcePop, MIS)");
    v.number("rollout_is_threshold", rollout_is_threshold, config::positive(), "largest importance weight");
    v.number("rollout_is_threshold_lower", rollout_is_threshold_lower, config::at_least(0.0), "smallest importance weight; 0 is none");
    v.choice("rollout_rs", rollout_rs,
             {"none", "token_k1", "token_k2", "token_k3", "seq_sum_k1", "seq_sum_k2", "seq_sum_k3", "seq_mean_k1", "seq_mean_k2",
              "seq_mean_k3", "seq_max_k2", "seq_max_k3"},
             "reject tokens or answers by this divergence of old and rollout policy; seq_mean_k1 is the geometric filter");
    v.number("rollout_rs_threshold", rollout_rs_threshold, config::at_least(0.0),
             "upper bound; of the ratio for k1, of k2 or k3 otherwise");
    v.number("rollout_rs_threshold_lower", rollout_rs_threshold_lower, config::at_least(0.0),
             "lower bound of the ratio for k1; 0 is 1 / rollout_rs_threshold");
    v.number("off_policy_mask_threshold", off_policy_mask_threshold, config::at_least(0.0),
             "drop answers with negative advantage whose mean log(rollout / current policy) is above this (DeepSeek-V3.2); 0 is off");
    v.flag("bypass_mode", bypass_mode,
           "use the rollout's log-probabilities as the old ones: one forward pass fewer, and the clip range is around the policy that "
           "sampled, "
           "which is what cluster.max_staleness above 0 wants");
    v.rule(rollout_is_threshold_lower <= rollout_is_threshold, "rollout_is_threshold_lower", "at most rollout_is_threshold",
           std::to_string(rollout_is_threshold_lower));
    v.rule(rollout_rs == "none" || rollout_rs_threshold > 0, "rollout_rs_threshold", "positive with rollout_rs",
           std::to_string(rollout_rs_threshold));
    v.rule(rollout_rs_threshold_lower <= rollout_rs_threshold, "rollout_rs_threshold_lower", "at most rollout_rs_threshold",
           std::to_string(rollout_rs_threshold_lower));
    v.rule(!rollout_rs.ends_with("k1") || rollout_rs_threshold_lower > 0 || rollout_rs_threshold >= 1, "rollout_rs_threshold",
           "at least 1 with a k1 statistic and no lower bound", std::to_string(rollout_rs_threshold));
    v.rule(!bypass_mode || rollout_is == "none", "rollout_is", "none with bypass_mode (the ratio holds the weight already)", rollout_is);
    v.rule(!bypass_mode || rollout_rs == "none", "rollout_rs", "none with bypass_mode (there is no old policy to compare with)",
           rollout_rs);
  }
};

/// Everything core/rl reads.
struct AlgorithmConfig {
  // Advantage (advantage.h)
  std::string adv_estimator = "grpo";
  bool norm_adv_by_std_in_grpo = true;
  std::string adv_std_scope = "group";
  std::string adv_std = "sample";
  double adv_eps = 1e-4;
  double gamma = 1.0;
  bool use_kl_in_reward = false;
  double kl_coef = 0.001;
  std::string kl_penalty = "k1";
  // Policy loss (policy_loss.h)
  std::string loss_mode = "vanilla";
  double clip_ratio_low = 0.2;
  double clip_ratio_high = 0.28;
  double clip_ratio_c = 3.0;
  double clip_ratio_delta = 0.0;
  double cispo_ratio_min = 0.0;
  double cispo_ratio_max = 5.0;
  double sapo_tau_pos = 1.0;
  double sapo_tau_neg = 1.05;
  std::string loss_agg_mode = "token-mean";
  // KL in the loss (kl.h), entropy
  bool use_kl_loss = false;
  double kl_loss_coef = 0.001;
  std::string kl_loss_type = "k3";
  bool kl_loss_off_policy = false;
  double entropy_coeff = 0.0;
  int64_t ref_update_interval = 0;
  // Which samples, how often
  FilterGroupsConfig filter_groups;
  RolloutCorrectionConfig rollout_correction;
  bool overlong_filter = false;
  int64_t ppo_epochs = 1;

  bool needs_reference() const { return use_kl_loss || use_kl_in_reward; }

  template <class Visitor>
  void visit(Visitor& v) {
    v.choice("adv_estimator", adv_estimator, {"grpo", "rloo", "reinforce_plus_plus", "reinforce_plus_plus_baseline"},
             "how rewards become advantages");
    v.flag("norm_adv_by_std_in_grpo", norm_adv_by_std_in_grpo, "divide by the standard deviation (grpo); false is Dr. GRPO");
    v.choice("adv_std_scope", adv_std_scope, {"group", "batch"}, "standard deviation of the group, or of the whole batch (Lite PPO)");
    v.choice("adv_std", adv_std, {"sample", "population"}, "divide the squares by N-1 or by N");
    v.number("adv_eps", adv_eps, config::at_least(0.0), "added to the standard deviation");
    v.number("gamma", gamma, config::between(0.0, 1.0), "discount per token (reinforce_plus_plus)");
    v.flag("use_kl_in_reward", use_kl_in_reward, "subtract kl_coef * KL(old policy, reference) from the reward");
    v.number("kl_coef", kl_coef, config::at_least(0.0), "weight of the KL in the reward");
    v.choice("kl_penalty", kl_penalty, {"k1", "k2", "k3"}, "estimator of the KL in the reward");
    v.choice("loss_mode", loss_mode, {"vanilla", "gspo", "cispo", "sapo"}, "policy loss");
    v.number("clip_ratio_low", clip_ratio_low, config::between(0.0, 1e6), "the ratio is clipped below 1 - this (R1: 10; GSPO: 3e-4)");
    v.number("clip_ratio_high", clip_ratio_high, config::between(0.0, 1e6), "the ratio is clipped above 1 + this (R1: 10; GSPO: 4e-4)");
    v.number("clip_ratio_c", clip_ratio_c, config::at_least(0.0), "dual clip for negative advantages; above 1, or 0 for off");
    v.number("clip_ratio_delta", clip_ratio_delta, config::at_least(0.0), "two-sided clip: largest unclipped ratio (about 4); 0 is off");
    v.number("cispo_ratio_min", cispo_ratio_min, config::at_least(0.0), "cispo: smallest ratio, absolute");
    v.number("cispo_ratio_max", cispo_ratio_max, config::positive(), "cispo: largest ratio, absolute");
    v.number("sapo_tau_pos", sapo_tau_pos, config::positive(), "sapo: temperature where the advantage is positive");
    v.number("sapo_tau_neg", sapo_tau_neg, config::positive(), "sapo: temperature elsewhere");
    v.choice("loss_agg_mode", loss_agg_mode,
             {"token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm", "dr_grpo", "bnpo"},
             "how token losses are averaged; bnpo depends on the micro-batch size");
    v.flag("use_kl_loss", use_kl_loss, "add kl_loss_coef * KL(policy, reference) to the loss");
    v.number("kl_loss_coef", kl_loss_coef, config::at_least(0.0), "weight of the KL in the loss (R1: 0.001)");
    v.choice("kl_loss_type", kl_loss_type, {"k1", "k2", "k3", "k1+", "k3+"}, "estimator of the KL in the loss");
    v.flag("kl_loss_off_policy", kl_loss_off_policy, "weight the KL by policy / old policy (DeepSeek-V3.2)");
    v.number("entropy_coeff", entropy_coeff, config::at_least(0.0), "weight of the entropy bonus");
    v.integer(
        "ref_update_interval", ref_update_interval, config::at_least(0),
        "rollout steps after which the reference becomes the current policy (R1: 400 optimizer steps, 16 to a rollout, so 25); 0 is never");
    v.section("filter_groups", filter_groups, "dynamic sampling");
    v.section("rollout_correction", rollout_correction, "the sampling policy differs from the trained one");
    v.flag("overlong_filter", overlong_filter, "leave answers cut off at the length limit out of the loss (DAPO)");
    v.integer("ppo_epochs", ppo_epochs, config::between(1, 128), "passes over each rollout");
    v.rule(clip_ratio_c == 0 || clip_ratio_c > 1, "clip_ratio_c", "0 or above 1", std::to_string(clip_ratio_c));
    v.rule(clip_ratio_delta == 0 || clip_ratio_delta > 1 + clip_ratio_high, "clip_ratio_delta", "0 or above 1 + clip_ratio_high",
           std::to_string(clip_ratio_delta));
    v.rule(cispo_ratio_min <= cispo_ratio_max, "cispo_ratio_min", "at most cispo_ratio_max", std::to_string(cispo_ratio_min));
    v.rule(loss_mode != "gspo" || loss_agg_mode == "seq-mean-token-mean", "loss_agg_mode", "seq-mean-token-mean with gspo", loss_agg_mode);
  }
};

}  // namespace cohort::rl
