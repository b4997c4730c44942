#pragma once
/// Argument checks of the kernels: a wrong call is a bug of ours and says which tensor of which op.

#include <ATen/ATen.h>

namespace cohort::kernels {

/// fp32, on the CPU and contiguous; throws c10::Error "op: name: …" otherwise.
inline const at::Tensor& dense_f32(const at::Tensor& t, const char* op, const char* name) {
  TORCH_CHECK(t.defined() && t.device().is_cpu() && t.scalar_type() == at::kFloat && t.is_contiguous(), op, ": ", name,
              ": expected a contiguous fp32 CPU tensor, found ", t.defined() ? t.toString() : "undefined",
              t.defined() ? t.sizes() : at::IntArrayRef{});
  return t;
}

/// Like dense_f32 but only the last dimension must be contiguous (slices of a wider projection).
inline const at::Tensor& rows_f32(const at::Tensor& t, const char* op, const char* name) {
  TORCH_CHECK(t.defined() && t.device().is_cpu() && t.scalar_type() == at::kFloat && (t.size(-1) == 1 || t.stride(-1) == 1), op, ": ", name,
              ": expected an fp32 CPU tensor with contiguous rows");
  return t;
}

inline const int64_t* indices(const at::Tensor& t, const char* op, const char* name) {
  TORCH_CHECK(t.defined() && t.scalar_type() == at::kLong && t.is_contiguous(), op, ": ", name, ": expected contiguous int64");
  return t.data_ptr<int64_t>();
}

}  // namespace cohort::kernels
