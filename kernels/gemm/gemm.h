#pragma once
/// C (+)= A·B in fp32 with a fixed order of summation.
///
/// Every element of C is c ← fma(a[m,k], b[k,n], c) for k = 0, 1, …, K-1, starting from 0 or from the C that is there. So the bits of a
/// row do not depend on the other rows (batch invariance: decoding one token equals the same row of a training batch), and summing over
/// rows in several calls with `accumulate` equals one call (gradients do not depend on the micro-batch split).
/// Technique: packed panels and register tiles (Goto & van de Geijn, "Anatomy of high-performance matrix multiplication", 2008).

#include <cstdint>

namespace cohort::kernels {

/// A matrix in memory: element (i, j) at data[i·row_stride + j·col_stride].
struct MatrixView {
  const float* data;
  int64_t row_stride;
  int64_t col_stride;
  bool round_to_bf16 = false;  ///< of B only: its elements are taken as rounded to bf16, without a rounded copy in memory
  MatrixView transposed() const { return {data, col_stride, row_stride, round_to_bf16}; }
};

inline MatrixView row_major(const float* data, int64_t cols) { return {data, cols, 1}; }

/// C is row-major with `c_stride` floats between rows. Runs on the threads of at::parallel_for. Does not alias.
void gemm(int64_t m, int64_t n, int64_t k, MatrixView a, MatrixView b, float* c, int64_t c_stride, bool accumulate);

/// The specification: three loops. Same bits, slow.
void gemm_reference(int64_t m, int64_t n, int64_t k, MatrixView a, MatrixView b, float* c, int64_t c_stride, bool accumulate);

}  // namespace cohort::kernels
