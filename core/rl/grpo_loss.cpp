#include "core/rl/grpo_loss.h"

#include <ATen/ATen.h>

#include "core/base/error.h"
#include "core/rl/algorithm_config.h"
#include "core/rl/kl.h"
#include "core/rl/overlong.h"
#include "core/rl/policy_loss.h"
#include "core/rl/rollout_correction.h"

namespace cohort::rl {

namespace {

const at::Tensor& needed(const at::Tensor& tensor, const Packing& packing, const char* name) {
  if (!tensor.defined()) throw Fault(std::string("grpo_loss: ") + name + " is needed by this config");
  if (tensor.dim() != 1 || tensor.size(0) != packing.tokens())
    throw Fault(std::string("grpo_loss: ") + name + " must hold one value per token");
  return tensor;
}

PolicyLossOptions options_of(const AlgorithmConfig& config) {
  return {config.loss_mode,       config.clip_ratio_low,  config.clip_ratio_high, config.clip_ratio_c, config.clip_ratio_delta,
          config.cispo_ratio_min, config.cispo_ratio_max, config.sapo_tau_pos,    config.sapo_tau_neg};
}

/// w_n · m_n of the header.
at::Tensor correction_weights(const AlgorithmConfig& config, const LossInputs& in, const at::Tensor& old_N) {
  const RolloutCorrectionConfig& correction = config.rollout_correction;
  at::Tensor weight_N = at::ones_like(old_N);
  if (correction.rollout_is != "none") {
    weight_N = rollout_weights(old_N, needed(in.rollout_logprob_N, in.packing, "rollout_logprob"), in.packing, correction);
  }
  if (correction.off_policy_mask_threshold > 0) {
    weight_N = weight_N * off_policy_sequence_keep(in.logprob_N, needed(in.rollout_logprob_N, in.packing, "rollout_logprob"),
                                                   in.advantage_N, in.packing, correction.off_policy_mask_threshold);
  }
  return weight_N;
}

double mean(double sum, double count) { return count > 0 ? sum / count : 0.0; }

}  // namespace

void LossMetrics::add(const LossMetrics& other) {
  tokens += other.tokens;
  loss += other.loss;
  pg_loss += other.pg_loss;
  kl_loss += other.kl_loss;
  entropy += other.entropy;
  pg_clipfrac += other.pg_clipfrac;
  pg_clipfrac_lower += other.pg_clipfrac_lower;
  ppo_kl += other.ppo_kl;
  rollout_is += other.rollout_is;
}

std::vector<std::pair<std::string, double>> LossMetrics::metrics() const {
  return {{"actor/loss", loss},
          {"actor/pg_loss", pg_loss},
          {"actor/kl_loss", kl_loss},
          {"actor/entropy", mean(entropy, tokens)},
          {"actor/pg_clipfrac", mean(pg_clipfrac, tokens)},
          {"actor/pg_clipfrac_lower", mean(pg_clipfrac_lower, tokens)},
          {"actor/ppo_kl", mean(ppo_kl, tokens)},
          {"rollout_corr/rollout_is_mean", mean(rollout_is, tokens)}};
}

at::Tensor trained_tokens(const AlgorithmConfig& config, const at::Tensor& old_logprob_N, const at::Tensor& rollout_logprob_N,
                          const at::Tensor& truncated_B, const Packing& packing) {
  at::Tensor keep_N = at::ones({packing.tokens()}, at::kFloat);
  if (config.overlong_filter) keep_N = keep_N * overlong_keep(truncated_B, packing);
  if (config.rollout_correction.rollout_rs != "none") {
    keep_N = keep_N * rejection_keep(old_logprob_N, rollout_logprob_N, packing, config.rollout_correction);
  }
  return keep_N;
}

LossResult grpo_loss(const AlgorithmConfig& config, const LossInputs& in, const AggregationScale& scale) {
  const Packing& packing = in.packing;
  const at::Tensor& logprob_N = needed(in.logprob_N, packing, "logprob");
  const at::Tensor old_N = config.rollout_correction.bypass_mode ? needed(in.rollout_logprob_N, packing, "rollout_logprob")
                                                                 : needed(in.old_logprob_N, packing, "old_logprob");
  const at::Tensor advantage_N = needed(in.advantage_N, packing, "advantage");
  const at::Tensor keep_N =
      in.keep_N.defined() ? needed(in.keep_N, packing, "keep").to(logprob_N.scalar_type()) : at::ones_like(logprob_N.detach());
  const at::Tensor weight_N = token_weights(keep_N, packing, config.loss_agg_mode, scale);

  // Policy gradient, corrected for the policy that sampled.
  const PolicyLoss policy = policy_loss(logprob_N, old_N, advantage_N, packing, options_of(config));
  const at::Tensor correction_N = correction_weights(config, in, old_N);
  const at::Tensor pg_loss = weighted_sum(policy.loss_N * correction_N, weight_N, packing);
  LossResult out{pg_loss, {}};
  LossMetrics& metrics = out.metrics;
  metrics.pg_loss = pg_loss.item<double>();

  if (config.use_kl_loss) {
    at::Tensor kl_N = kl_estimate(logprob_N, needed(in.ref_logprob_N, packing, "ref_logprob"), config.kl_loss_type);
    if (config.kl_loss_off_policy) kl_N = off_policy_kl(kl_N, logprob_N, old_N);
    const at::Tensor kl_loss = weighted_sum(kl_N, weight_N, packing);
    out.loss = out.loss + config.kl_loss_coef * kl_loss;
    metrics.kl_loss = kl_loss.item<double>();
  }
  if (config.entropy_coeff > 0) {
    out.loss = out.loss - config.entropy_coeff * weighted_sum(needed(in.entropy_N, packing, "entropy"), weight_N, packing);
  }

  const auto total = [&](const at::Tensor& values_N) { return packing.sum(values_N.detach() * keep_N).sum().item<double>(); };
  metrics.loss = out.loss.item<double>();
  metrics.tokens = packing.sum(keep_N).sum().item<double>();
  if (in.entropy_N.defined()) metrics.entropy = total(in.entropy_N);
  metrics.pg_clipfrac = total(policy.clipped_N);
  metrics.pg_clipfrac_lower = total(policy.clipped_lower_N);
  metrics.ppo_kl = total(-policy.log_ratio_N);
  metrics.rollout_is = total(correction_N);
  return out;
}

}  // namespace cohort::rl
