#pragma once
/// AdamW (Loshchilov & Hutter 2019) in the order of operations of torch.optim.AdamW: decoupled decay, eps after the bias-corrected root.

#include <ATen/core/Tensor.h>

namespace cohort::kernels {

struct AdamWOptions {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.0;
};

/// In place on flat fp32 tensors of one length. `step` counts from 1. The gradient is multiplied by grad_scale first (clipping).
void adamw(const at::Tensor& values, const at::Tensor& grads, const at::Tensor& m, const at::Tensor& v, int64_t step, double grad_scale,
           const AdamWOptions& options);

/// Σ g² in double over a flat fp32 tensor, in index order.
double sum_of_squares(const at::Tensor& flat);

}  // namespace cohort::kernels
