#pragma once
/// Overlong filtering (DAPO, arXiv 2503.14476 §3.4): an answer cut off at the length limit says nothing about its quality, so it is taken
/// out of the loss. (The other remedy of that section, the soft penalty, is a reward: core/reward.)

#include <ATen/core/Tensor.h>

#include "core/rl/packed.h"

namespace cohort::rl {

/// truncated_B bool [B] → 0 at every token of a truncated answer, 1 elsewhere: [N], float32. It still counts in its group's baseline.
at::Tensor overlong_keep(const at::Tensor& truncated_B, const Packing& packing);

}  // namespace cohort::rl
