#include "kernels/embedding/embedding.h"

#include <cstring>

#include "kernels/common/row_kernels.h"
#include "kernels/common/tensor_check.h"

namespace cohort::kernels {

at::Tensor embedding(const at::Tensor& ids, const at::Tensor& table) {
  const int64_t n = ids.numel(), rows = dense_f32(table, "embedding", "table").size(0), d = table.size(1);
  const int64_t* id = indices(ids, "embedding", "ids");
  at::Tensor y = at::empty({n, d}, table.options());
  for (int64_t i = 0; i < n; ++i) {
    TORCH_CHECK(id[i] >= 0 && id[i] < rows, "embedding: id ", id[i], " outside a table of ", rows);
    std::memcpy(y.data_ptr<float>() + i * d, table.data_ptr<float>() + id[i] * d, sizeof(float) * static_cast<size_t>(d));
  }
  return y;
}

void embedding_backward(const at::Tensor& dy, const at::Tensor& ids, const at::Tensor& table_grad) {
  const int64_t n = ids.numel(), d = dy.size(1);
  dense_f32(dy, "embedding", "dy");
  const int64_t* id = indices(ids, "embedding", "ids");
  for (int64_t i = 0; i < n; ++i) row_kernels().add_scaled(dy.data_ptr<float>() + i * d, 1.0f, d, table_grad.data_ptr<float>() + id[i] * d);
}

}  // namespace cohort::kernels
