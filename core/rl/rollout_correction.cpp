#include "core/rl/rollout_correction.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/rl/algorithm_config.h"

namespace cohort::rl {

namespace {

constexpr double kBound = 20.0;  // of logarithms before exp: e^20 is about 5e8

at::Tensor log_weight(const at::Tensor& old_logprob_N, const at::Tensor& rollout_logprob_N) {
  return (old_logprob_N - rollout_logprob_N).detach().to(at::kDouble);
}

/// Largest value of each answer; 0 where it has no token (the values are never negative).
at::Tensor largest(const at::Tensor& values_N, const Packing& packing) {
  return at::zeros({packing.sequences}, values_N.options()).scatter_reduce(0, packing.sequence_N, values_N, "amax");
}

/// The statistic that `name` bounds, for k1 the logarithm of the ratio: [N], equal for all tokens of an answer in the seq_ forms.
at::Tensor statistic(std::string_view name, const at::Tensor& log_w, const Packing& packing) {
  const at::Tensor safe = log_w.clamp(-kBound, kBound);
  const std::string_view kind = name.substr(name.size() - 2);
  const at::Tensor token = kind == "k1" ? safe : kind == "k2" ? 0.5 * safe * safe : safe.exp() - safe - 1.0;
  if (name.starts_with("token_")) return token;
  if (name.starts_with("seq_sum_")) return packing.spread(packing.sum(token));
  if (name.starts_with("seq_mean_")) return packing.spread(packing.mean(token));
  return packing.spread(largest(token, packing));
}

double mean(double sum, double count) { return count > 0 ? sum / count : 0.0; }

}  // namespace

const std::vector<std::string>& rejection_statistics() {
  static const std::vector<std::string> names = {"none",       "token_k1",    "token_k2",    "token_k3",    "seq_sum_k1", "seq_sum_k2",
                                                 "seq_sum_k3", "seq_mean_k1", "seq_mean_k2", "seq_mean_k3", "seq_max_k2", "seq_max_k3"};
  return names;
}

at::Tensor rollout_weights(const at::Tensor& old_logprob_N, const at::Tensor& rollout_logprob_N, const Packing& packing,
                           const RolloutCorrectionConfig& config) {
  if (config.rollout_is == "none") return at::ones_like(old_logprob_N.detach());
  at::Tensor log_w = log_weight(old_logprob_N, rollout_logprob_N);
  if (config.rollout_is == "sequence") {
    log_w = packing.spread(packing.sum(log_w));
  } else if (config.rollout_is != "token") {
    throw Fault("unknown rollout_is '" + config.rollout_is + "'");
  }
  const at::Tensor w = log_w.clamp(-kBound, kBound).exp();
  const at::Tensor inside = w.clamp(config.rollout_is_threshold_lower, config.rollout_is_threshold);
  if (config.rollout_is_outside == "truncate") return inside.to(old_logprob_N.scalar_type());
  if (config.rollout_is_outside == "mask") return at::where(inside == w, w, at::zeros_like(w)).to(old_logprob_N.scalar_type());
  throw Fault("unknown rollout_is_outside '" + config.rollout_is_outside + "'");
}

at::Tensor rejection_keep(const at::Tensor& old_logprob_N, const at::Tensor& rollout_logprob_N, const Packing& packing,
                          const RolloutCorrectionConfig& config) {
  const std::string& name = config.rollout_rs;
  if (name == "none") return at::ones_like(old_logprob_N.detach());
  const auto& names = rejection_statistics();
  if (std::find(names.begin(), names.end(), name) == names.end()) throw Fault("unknown rollout_rs '" + name + "'");

  const at::Tensor value_N = statistic(name, log_weight(old_logprob_N, rollout_logprob_N), packing);
  at::Tensor keep_N = value_N <= config.rollout_rs_threshold;
  if (name.ends_with("k1")) {
    const double upper = config.rollout_rs_threshold;
    const double lower = config.rollout_rs_threshold_lower > 0 ? config.rollout_rs_threshold_lower : 1.0 / upper;
    keep_N = (value_N >= std::log(lower)).logical_and(value_N <= std::log(upper));
  }
  return keep_N.to(old_logprob_N.scalar_type());
}

at::Tensor off_policy_sequence_keep(const at::Tensor& logprob_N, const at::Tensor& rollout_logprob_N, const at::Tensor& advantage_N,
                                    const Packing& packing, double threshold) {
  const at::Tensor kl_N = packing.spread(packing.mean(-log_weight(logprob_N, rollout_logprob_N)));
  return (advantage_N >= 0).logical_or(kl_N <= threshold).to(logprob_N.scalar_type());
}

void RolloutMismatch::add(const RolloutMismatch& other) {
  tokens += other.tokens;
  sequences += other.sequences;
  kl += other.kl;
  k3_kl += other.k3_kl;
  ppl_ratio += other.ppl_ratio;
  chi2_token += other.chi2_token;
  chi2_seq += other.chi2_seq;
  probs_diff += other.probs_diff;
  probs_diff_max = std::max(probs_diff_max, other.probs_diff_max);
  logprob_abs_diff += other.logprob_abs_diff;
  logprob_abs_diff_max = std::max(logprob_abs_diff_max, other.logprob_abs_diff_max);
}

std::vector<std::pair<std::string, double>> RolloutMismatch::metrics() const {
  if (tokens == 0) return {};
  return {{"rollout_corr/kl", mean(kl, tokens)},
          {"rollout_corr/k3_kl", mean(k3_kl, tokens)},
          {"rollout_corr/ppl_ratio", mean(ppl_ratio, sequences)},
          {"rollout_corr/chi2_token", mean(chi2_token, tokens) - 1.0},
          {"rollout_corr/chi2_seq", mean(chi2_seq, sequences) - 1.0},
          {"training/rollout_probs_diff_mean", mean(probs_diff, tokens)},
          {"training/rollout_probs_diff_max", probs_diff_max},
          {"training/rollout_logprob_abs_diff_mean", mean(logprob_abs_diff, tokens)},
          {"training/rollout_logprob_abs_diff_max", logprob_abs_diff_max}};
}

RolloutMismatch rollout_mismatch(const at::Tensor& old_logprob_N, const at::Tensor& rollout_logprob_N, const Packing& packing) {
  RolloutMismatch out;
  out.tokens = static_cast<double>(packing.tokens());
  if (out.tokens == 0) return out;
  const auto total = [&](const at::Tensor& values_N) { return packing.sum(values_N).sum().item<double>(); };
  const at::Tensor log_w = log_weight(old_logprob_N, rollout_logprob_N);
  const at::Tensor safe = log_w.clamp(-kBound, kBound);
  const at::Tensor filled_B = packing.sum(at::ones_like(log_w)) > 0;
  out.sequences = filled_B.sum().item<double>();
  out.kl = total(-log_w);
  out.k3_kl = total(safe.exp() - safe - 1.0);
  out.ppl_ratio = ((-packing.mean(log_w)).clamp(-kBound, kBound).exp() * filled_B).sum().item<double>();
  out.chi2_token = total((2.0 * safe).exp());
  out.chi2_seq = ((2.0 * packing.sum(log_w).clamp(-kBound, kBound)).exp() * filled_B).sum().item<double>();
  const at::Tensor probs_diff = (old_logprob_N.detach().to(at::kDouble).exp() - rollout_logprob_N.detach().to(at::kDouble).exp()).abs();
  out.probs_diff = total(probs_diff);
  out.probs_diff_max = probs_diff.max().item<double>();
  out.logprob_abs_diff = total(log_w.abs());
  out.logprob_abs_diff_max = log_w.abs().max().item<double>();
  return out;
}

}  // namespace cohort::rl
