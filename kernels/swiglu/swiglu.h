#pragma once
/// SwiGLU (Shazeer 2020): y = silu(gate) ⊙ up, elementwise on contiguous fp32 tensors of one shape.

#include <ATen/core/Tensor.h>

#include <utility>

namespace cohort::kernels {

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);
/// → (dgate, dup).
std::pair<at::Tensor, at::Tensor> swiglu_backward(const at::Tensor& dy, const at::Tensor& gate, const at::Tensor& up);

}  // namespace cohort::kernels
