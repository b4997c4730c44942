#pragma once
/// RMSNorm (Zhang & Sennrich 2019): y = w ⊙ x / sqrt(mean(x²) + eps), over the last dimension, in fp32.

#include <ATen/core/Tensor.h>

#include <utility>

namespace cohort::kernels {

/// x [N, D] (rows may be strided), weight [D] → y [N, D], 1/rms [N].
std::pair<at::Tensor, at::Tensor> rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);
/// → dx [N, D]; weight_grad [D] += Σ_n dy·x/rms, rows in ascending order.
at::Tensor rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& inverse_rms,
                             const at::Tensor& weight_grad);

}  // namespace cohort::kernels
