#include "kernels/common/row_kernels.h"
#include "kernels/common/tensor_check.h"
#include "kernels/rope/rope.h"

namespace cohort::kernels {

at::Tensor rope(const at::Tensor& x, const at::Tensor& positions, const at::Tensor& cosine, const at::Tensor& sine, RopeLayout layout,
                float sign) {
  const int64_t n = rows_f32(x, "rope", "x").size(0), heads = x.size(1), d = x.size(2), half = d / 2;
  TORCH_CHECK(d % 2 == 0 && cosine.size(1) == half, "rope: x ", x.sizes(), " does not fit cosine ", cosine.sizes());
  const int64_t* position = indices(positions, "rope", "positions");
  at::Tensor y = at::empty({n, heads, d}, x.options());
  y.copy_(x);
  const bool pairs = layout == RopeLayout::kPairs;
  for (int64_t i = 0; i < n; ++i) {
    TORCH_CHECK(position[i] >= 0 && position[i] < cosine.size(0), "rope: position ", position[i], " outside the table of ", cosine.size(0));
    const float* c = cosine.data_ptr<float>() + position[i] * half;
    const float* s = sine.data_ptr<float>() + position[i] * half;
    for (int64_t h = 0; h < heads; ++h) {
      float* row = y.data_ptr<float>() + (i * heads + h) * d;
      row_kernels().rotate(row, row + (pairs ? 1 : half), half, pairs ? 2 : 1, c, s, sign);
    }
  }
  return y;
}

}  // namespace cohort::kernels
