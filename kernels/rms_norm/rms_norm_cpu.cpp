#include "kernels/common/row_kernels.h"
#include "kernels/common/tensor_check.h"
#include "kernels/rms_norm/rms_norm.h"

namespace cohort::kernels {

std::pair<at::Tensor, at::Tensor> rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const int64_t n = rows_f32(x, "rms_norm", "x").size(0), d = x.size(1);
  TORCH_CHECK(x.dim() == 2 && weight.numel() == d, "rms_norm: x ", x.sizes(), " does not fit weight ", weight.sizes());
  at::Tensor y = at::empty({n, d}, x.options()), inverse_rms = at::empty({n}, x.options());
  for (int64_t i = 0; i < n; ++i)
    row_kernels().rms_norm_row(x.data_ptr<float>() + i * x.stride(0), weight.data_ptr<float>(), d, static_cast<float>(eps),
                               y.data_ptr<float>() + i * d, inverse_rms.data_ptr<float>() + i);
  return {y, inverse_rms};
}

at::Tensor rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& inverse_rms,
                             const at::Tensor& weight_grad) {
  const int64_t n = x.size(0), d = x.size(1);
  dense_f32(dy, "rms_norm", "dy");
  at::Tensor dx = at::empty({n, d}, x.options());
  for (int64_t i = 0; i < n; ++i)
    row_kernels().rms_norm_row_backward(x.data_ptr<float>() + i * x.stride(0), weight.data_ptr<float>(), dy.data_ptr<float>() + i * d, d,
                                        inverse_rms.data_ptr<float>()[i], dx.data_ptr<float>() + i * d, weight_grad.data_ptr<float>());
  return dx;
}

}  // namespace cohort::kernels
