#include "kernels/common/row_kernels.h"
#include "kernels/common/tensor_check.h"
#include "kernels/swiglu/swiglu.h"

namespace cohort::kernels {

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  dense_f32(gate, "swiglu", "gate"), dense_f32(up, "swiglu", "up");
  TORCH_CHECK(gate.sizes() == up.sizes(), "swiglu: gate ", gate.sizes(), ", up ", up.sizes());
  at::Tensor y = at::empty_like(gate);
  row_kernels().swiglu(gate.data_ptr<float>(), up.data_ptr<float>(), gate.numel(), y.data_ptr<float>());
  return y;
}

std::pair<at::Tensor, at::Tensor> swiglu_backward(const at::Tensor& dy, const at::Tensor& gate, const at::Tensor& up) {
  dense_f32(dy, "swiglu", "dy");
  at::Tensor dgate = at::empty_like(gate), dup = at::empty_like(up);
  row_kernels().swiglu_backward(gate.data_ptr<float>(), up.data_ptr<float>(), dy.data_ptr<float>(), gate.numel(), dgate.data_ptr<float>(),
                                dup.data_ptr<float>());
  return {dgate, dup};
}

}  // namespace cohort::kernels
