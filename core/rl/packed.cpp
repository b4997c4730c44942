#include "core/rl/packed.h"

#include <ATen/ATen.h>

namespace cohort::rl {

Packing Packing::from_lengths(const std::vector<int64_t>& lengths) {
  const auto sequences = static_cast<int64_t>(lengths.size());
  const at::Tensor length_B = at::empty({sequences}, at::kLong);
  std::copy(lengths.begin(), lengths.end(), length_B.data_ptr<int64_t>());
  return {at::repeat_interleave(at::arange(sequences, at::kLong), length_B), sequences};
}

int64_t Packing::tokens() const { return sequence_N.size(0); }

at::Tensor Packing::sum(const at::Tensor& values_N) const {
  const at::Tensor zero_B = at::zeros({sequences}, values_N.options().dtype(at::kDouble).requires_grad(false));
  return zero_B.index_add(0, sequence_N, values_N.to(at::kDouble));
}

at::Tensor Packing::mean(const at::Tensor& values_N) const { return sum(values_N) / sum(at::ones_like(values_N)).clamp_min(1.0); }

at::Tensor Packing::spread(const at::Tensor& values_B) const { return values_B.index_select(0, sequence_N); }

}  // namespace cohort::rl
