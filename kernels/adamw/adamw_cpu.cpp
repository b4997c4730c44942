#include "kernels/adamw/adamw.h"

#include <cmath>

#include "kernels/common/row_kernels.h"
#include "kernels/common/tensor_check.h"

namespace cohort::kernels {

void adamw(const at::Tensor& values, const at::Tensor& grads, const at::Tensor& m, const at::Tensor& v, int64_t step, double grad_scale,
           const AdamWOptions& o) {
  for (const auto& t : {values, grads, m, v}) dense_f32(t, "adamw", "state");
  TORCH_CHECK(grads.numel() == values.numel() && m.numel() == values.numel() && v.numel() == values.numel(),
              "adamw: expected tensors of one length, found ", values.numel(), ", ", grads.numel(), ", ", m.numel(), ", ", v.numel());
  const double bias1 = 1.0 - std::pow(o.beta1, static_cast<double>(step)), bias2 = 1.0 - std::pow(o.beta2, static_cast<double>(step));
  row_kernels().adamw(values.data_ptr<float>(), grads.data_ptr<float>(), m.data_ptr<float>(), v.data_ptr<float>(), values.numel(),
                      static_cast<float>(grad_scale), static_cast<float>(o.lr), static_cast<float>(1.0 - o.beta1),
                      static_cast<float>(o.beta2), static_cast<float>(1.0 - o.beta2), static_cast<float>(o.eps),
                      static_cast<float>(o.weight_decay), static_cast<float>(bias1), static_cast<float>(std::sqrt(bias2)));
}

double sum_of_squares(const at::Tensor& flat) {
  const float* x = dense_f32(flat, "sum_of_squares", "flat").data_ptr<float>();
  double total = 0.0;
  for (int64_t i = 0; i < flat.numel(); ++i) total += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return total;
}

}  // namespace cohort::kernels
