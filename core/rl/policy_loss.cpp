#include "core/rl/policy_loss.h"

#include <ATen/ATen.h>

#include "core/base/error.h"

namespace cohort::rl {

namespace {

/// PPO's clip with its optional dual and two-sided forms. `dual` is for token ratios only.
PolicyLoss clipped(const at::Tensor& ratio_N, const at::Tensor& advantage_N, const PolicyLossOptions& options, bool dual) {
  const at::Tensor capped_N = options.clip_ratio_delta > 0 ? ratio_N.clamp_max(options.clip_ratio_delta) : ratio_N;
  const at::Tensor plain = -advantage_N * capped_N;
  const at::Tensor clip = -advantage_N * ratio_N.clamp(1.0 - options.clip_ratio_low, 1.0 + options.clip_ratio_high);
  PolicyLoss out;
  out.loss_N = at::maximum(plain, clip);
  out.clipped_N = clip > plain;
  out.clipped_lower_N = at::zeros_like(out.clipped_N);
  if (dual && options.clip_ratio_c > 0) {
    const at::Tensor negative = advantage_N < 0;
    const at::Tensor ceiling = -advantage_N * options.clip_ratio_c;
    out.clipped_lower_N = (out.loss_N > ceiling).logical_and(negative);
    out.loss_N = at::where(negative, at::minimum(ceiling, out.loss_N), out.loss_N);
  }
  return out;
}

/// s = sg[mean ratio of the answer] · π_θ / sg[π_θ]: the value of the sequence ratio, the gradient of the token.
at::Tensor sequence_ratio(const at::Tensor& logprob_N, const at::Tensor& old_logprob_N, const Packing& packing) {
  const at::Tensor mean_N = packing.spread(packing.mean((logprob_N - old_logprob_N).detach())).to(logprob_N.scalar_type());
  return (logprob_N - logprob_N.detach() + mean_N).clamp_max(10.0).exp();
}

PolicyLoss cispo(const at::Tensor& ratio_N, const at::Tensor& logprob_N, const at::Tensor& advantage_N, const PolicyLossOptions& options) {
  const at::Tensor plain = ratio_N.detach();
  const at::Tensor weight = plain.clamp(options.cispo_ratio_min, options.cispo_ratio_max);
  const at::Tensor clipped_N = weight != plain;
  return {-weight * advantage_N * logprob_N, clipped_N, at::zeros_like(clipped_N), {}};
}

PolicyLoss sapo(const at::Tensor& ratio_N, const at::Tensor& advantage_N, const PolicyLossOptions& options) {
  const at::Tensor positive = advantage_N > 0;
  const at::Tensor tau =
      at::where(positive, at::full_like(advantage_N, options.sapo_tau_pos), at::full_like(advantage_N, options.sapo_tau_neg));
  // 1/(1+e^-x) and not at::sigmoid: the latter rounds differently at the end of a tensor, which would make it depend on the micro-batch.
  const at::Tensor gate = (4.0 / tau) / ((-tau * (ratio_N - 1.0)).exp() + 1.0);
  return {-gate * advantage_N, at::zeros_like(positive), at::zeros_like(positive), {}};
}

}  // namespace

const std::vector<std::string>& policy_loss_modes() {
  static const std::vector<std::string> names = {"vanilla", "gspo", "cispo", "sapo"};
  return names;
}

PolicyLoss policy_loss(const at::Tensor& logprob_N, const at::Tensor& old_logprob_N, const at::Tensor& advantage_N, const Packing& packing,
                       const PolicyLossOptions& options) {
  const at::Tensor old = old_logprob_N.detach();
  const at::Tensor advantage = advantage_N.detach().to(logprob_N.scalar_type());
  const at::Tensor log_ratio = (logprob_N - old).clamp(-20.0, 20.0);
  PolicyLoss out;
  if (options.mode == "vanilla") {
    out = clipped(log_ratio.exp(), advantage, options, true);
  } else if (options.mode == "gspo") {
    out = clipped(sequence_ratio(logprob_N, old, packing), advantage, options, false);
  } else if (options.mode == "cispo") {
    out = cispo(log_ratio.exp(), logprob_N, advantage, options);
  } else if (options.mode == "sapo") {
    out = sapo(log_ratio.exp(), advantage, options);
  } else {
    throw Fault("unknown loss_mode '" + options.mode + "'");
  }
  out.log_ratio_N = log_ratio.detach();
  return out;
}

}  // namespace cohort::rl
