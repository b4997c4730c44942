#include "core/rl/aggregation.h"

#include <ATen/ATen.h>

#include "core/base/error.h"

namespace cohort::rl {

namespace {

double positive(double value, const char* name) {
  if (!(value > 0)) throw Fault(std::string("aggregation: ") + name + " is " + std::to_string(value) + ", expected a positive count");
  return value;
}

}  // namespace

void AggregationScale::add(const at::Tensor& keep_N, const Packing& packing) {
  const at::Tensor kept_B = packing.sum(keep_N);
  global_tokens += kept_B.sum().item<double>();
  global_sequences += (kept_B > 0).sum().item<double>();
}

const std::vector<std::string>& aggregation_modes() {
  static const std::vector<std::string> names = {
      "token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm", "dr_grpo", "bnpo"};
  return names;
}

at::Tensor token_weights(const at::Tensor& keep_N, const Packing& packing, std::string_view mode, const AggregationScale& scale) {
  const at::Tensor keep = keep_N.detach().to(at::kDouble);
  at::Tensor weight_N;
  if (mode == "token-mean") {
    weight_N = keep / positive(scale.global_tokens, "global_tokens");
  } else if (mode == "seq-mean-token-mean") {
    const at::Tensor length_N = packing.spread(packing.sum(keep).clamp_min(1.0));
    weight_N = keep / length_N / positive(scale.global_sequences, "global_sequences");
  } else if (mode == "seq-mean-token-sum") {
    weight_N = keep / positive(scale.global_sequences, "global_sequences");
  } else if (mode == "seq-mean-token-sum-norm" || mode == "dr_grpo") {
    weight_N = keep / (positive(scale.global_sequences, "global_sequences") * positive(scale.max_response_length, "max_response_length"));
  } else if (mode == "bnpo") {
    weight_N = keep / (keep.sum().clamp_min(1.0) * positive(scale.micro_batches, "micro_batches"));
  } else {
    throw Fault("unknown loss_agg_mode '" + std::string(mode) + "'");
  }
  return weight_N.to(keep_N.scalar_type());
}

at::Tensor weighted_sum(const at::Tensor& token_loss_N, const at::Tensor& weight_N, const Packing& packing) {
  return packing.sum(token_loss_N * weight_N).sum();
}

at::Tensor aggregate(const at::Tensor& token_loss_N, const at::Tensor& keep_N, const Packing& packing, std::string_view mode,
                     const AggregationScale& scale) {
  return weighted_sum(token_loss_N, token_weights(keep_N, packing, mode, scale), packing);
}

}  // namespace cohort::rl
