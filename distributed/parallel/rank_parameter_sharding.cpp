#include "distributed/parallel/rank_parameter_sharding.h"

#include <ATen/ATen.h>

#include "core/base/error.h"

namespace cohort::parallel {

RankParameterSharding::RankParameterSharding(comm::Communicator group) : group_(std::move(group)) {}

model::ParameterSharding::Range RankParameterSharding::slice(int64_t length) const {
  const auto [begin, count] = comm::slice_of(static_cast<size_t>(length), group_.rank(), group_.size());
  return {static_cast<int64_t>(begin), static_cast<int64_t>(begin + count)};
}

void RankParameterSharding::gather(at::Tensor flat, const std::vector<Range>& wanted) {
  if (!flat.is_cpu() || !flat.is_contiguous() || flat.scalar_type() != at::kFloat)
    throw Fault("parameters: expected a contiguous fp32 tensor on the CPU");
  const std::vector<std::pair<size_t, size_t>> ranges(wanted.begin(), wanted.end());
  group_.gather_ranges("parameters", {flat.data_ptr<float>(), static_cast<size_t>(flat.numel())}, ranges);
}

bool RankParameterSharding::any(bool mine) { return group_.any("pass", mine); }

}  // namespace cohort::parallel
