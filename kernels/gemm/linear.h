#pragma once
/// y = x·Wᵀ + b and its gradients, over kernels/gemm (row order fixed, see there).

#include <ATen/core/Tensor.h>

namespace cohort::kernels {

/// x [N, K], weight [O, K], bias [O] or undefined → [N, O]. `rounded`: the weight is taken as rounded to bf16.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, bool rounded = false);
/// dy [N, O] → dx [N, K].
at::Tensor linear_backward_input(const at::Tensor& dy, const at::Tensor& weight, bool rounded = false);
/// weight_grad [O, K] += dyᵀ·x and bias_grad [O] += Σ dy (where defined), rows in ascending order.
void linear_backward_weight(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight_grad, const at::Tensor& bias_grad);

/// One matrix per head: x [N, H, K], weight [H, O, K] → [N, H, O]. The heads' weights may be a strided view with contiguous rows or
/// columns.
at::Tensor linear_per_head(const at::Tensor& x, const at::Tensor& weight);
at::Tensor linear_per_head_backward_input(const at::Tensor& dy, const at::Tensor& weight);
void linear_per_head_backward_weight(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight_grad);

}  // namespace cohort::kernels
