#pragma once
/// Rows of a table by token id.

#include <ATen/core/Tensor.h>

namespace cohort::kernels {

/// ids [N] int64, table [V, D] → [N, D]. An id outside the table is an error.
at::Tensor embedding(const at::Tensor& ids, const at::Tensor& table);
/// table_grad[ids[n]] += dy[n], n ascending.
void embedding_backward(const at::Tensor& dy, const at::Tensor& ids, const at::Tensor& table_grad);

}  // namespace cohort::kernels
