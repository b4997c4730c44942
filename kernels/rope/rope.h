#pragma once
/// Rotary position embedding (Su et al. 2021), applied to given positions.

#include <ATen/core/Tensor.h>

namespace cohort::kernels {

/// How the pairs that are rotated together lie in memory.
enum class RopeLayout {
  kHalves,  ///< (x_i, x_{i+d/2}): Qwen and Llama checkpoints
  kPairs,   ///< (x_{2i}, x_{2i+1}): DeepSeek checkpoints
};

/// x [N, H, d] (last dimension contiguous), positions [N] int64, cosine and sine [P, d/2] → a rotated copy [N, H, d].
/// sign -1 rotates back, which is the gradient.
at::Tensor rope(const at::Tensor& x, const at::Tensor& positions, const at::Tensor& cosine, const at::Tensor& sine, RopeLayout layout,
                float sign);

}  // namespace cohort::kernels
