#include "kernels/common/row_kernels.h"
#include "kernels/common/tensor_check.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/linear.h"

namespace cohort::kernels {
namespace {

MatrixView matrix(const at::Tensor& t, bool rounded = false) { return {t.data_ptr<float>(), t.stride(0), t.stride(1), rounded}; }

/// Column h of a [N, H, K] tensor as an N × K matrix.
MatrixView head(const at::Tensor& t, int64_t h) { return {t.data_ptr<float>() + h * t.stride(1), t.stride(0), t.stride(2)}; }

/// Weight of head h as an O × K matrix.
MatrixView head_weight(const at::Tensor& w, int64_t h) { return {w.data_ptr<float>() + h * w.stride(0), w.stride(1), w.stride(2)}; }

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, bool rounded) {
  const int64_t n = dense_f32(x, "linear", "x").size(0), out = dense_f32(weight, "linear", "weight").size(0), in = weight.size(1);
  TORCH_CHECK(x.dim() == 2 && x.size(1) == in, "linear: x ", x.sizes(), " does not fit weight ", weight.sizes());
  at::Tensor y = at::empty({n, out}, x.options());
  gemm(n, out, in, matrix(x), matrix(weight, rounded).transposed(), y.data_ptr<float>(), out, false);
  if (bias.defined()) y.add_(bias);
  return y;
}

at::Tensor linear_backward_input(const at::Tensor& dy, const at::Tensor& weight, bool rounded) {
  const int64_t n = dense_f32(dy, "linear", "dy").size(0), out = weight.size(0), in = weight.size(1);
  at::Tensor dx = at::empty({n, in}, dy.options());
  gemm(n, in, out, matrix(dy), matrix(weight, rounded), dx.data_ptr<float>(), in, false);
  return dx;
}

void linear_backward_weight(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight_grad, const at::Tensor& bias_grad) {
  const int64_t n = dy.size(0), out = dy.size(1), in = x.size(1);
  dense_f32(weight_grad, "linear", "weight_grad");
  gemm(out, in, n, matrix(dy).transposed(), matrix(x), weight_grad.data_ptr<float>(), in, true);
  if (!bias_grad.defined()) return;
  const RowKernels& rows = row_kernels();
  for (int64_t i = 0; i < n; ++i) rows.add_scaled(dy.data_ptr<float>() + i * out, 1.0f, out, bias_grad.data_ptr<float>());
}

at::Tensor linear_per_head(const at::Tensor& x, const at::Tensor& weight) {
  const int64_t n = rows_f32(x, "linear_per_head", "x").size(0), heads = weight.size(0), out = weight.size(1), in = weight.size(2);
  TORCH_CHECK(x.dim() == 3 && x.size(1) == heads && x.size(2) == in, "linear_per_head: x ", x.sizes(), " does not fit weight ",
              weight.sizes());
  at::Tensor y = at::empty({n, heads, out}, x.options());
  for (int64_t h = 0; h < heads; ++h)
    gemm(n, out, in, head(x, h), head_weight(weight, h).transposed(), y.data_ptr<float>() + h * out, heads * out, false);
  return y;
}

at::Tensor linear_per_head_backward_input(const at::Tensor& dy, const at::Tensor& weight) {
  const int64_t n = dy.size(0), heads = weight.size(0), out = weight.size(1), in = weight.size(2);
  at::Tensor dx = at::empty({n, heads, in}, dy.options());
  for (int64_t h = 0; h < heads; ++h)
    gemm(n, in, out, head(dy, h), head_weight(weight, h), dx.data_ptr<float>() + h * in, heads * in, false);
  return dx;
}

void linear_per_head_backward_weight(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight_grad) {
  const int64_t n = dy.size(0), heads = weight_grad.size(0), out = weight_grad.size(1), in = weight_grad.size(2);
  const bool by_column = weight_grad.stride(2) != 1;
  TORCH_CHECK(by_column ? weight_grad.stride(1) == 1 : true, "linear_per_head: weight_grad: expected contiguous rows or columns");
  for (int64_t h = 0; h < heads; ++h) {
    float* grad = weight_grad.data_ptr<float>() + h * weight_grad.stride(0);
    if (by_column)
      gemm(in, out, n, head(x, h).transposed(), head(dy, h), grad, weight_grad.stride(2), true);
    else
      gemm(out, in, n, head(dy, h).transposed(), head(x, h), grad, weight_grad.stride(1), true);
  }
}

}  // namespace cohort::kernels
