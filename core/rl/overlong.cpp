#include "core/rl/overlong.h"

#include <ATen/ATen.h>

namespace cohort::rl {

at::Tensor overlong_keep(const at::Tensor& truncated_B, const Packing& packing) {
  return packing.spread(truncated_B.logical_not()).to(at::kFloat);
}

}  // namespace cohort::rl
