#pragma once
/// Body of RowKernels for one instruction set; the including file defines COHORT_ISA and the vector type of the GEMM tile.

#include <cmath>
#include <cstring>

#include "kernels/common/row_kernels.h"
#include "kernels/common/vector_math.h"

namespace cohort::kernels {
namespace COHORT_ISA {

/// A panel row is kPanelWidth floats = kPanelWidth / Vec::kWidth vectors; a tile keeps rows × vectors accumulators in registers.
template <class Vec, int kRows>
void gemm_rows(int64_t k_count, const float* a, const float* b, int64_t b_stride, float* c, int64_t c_stride, bool accumulate) {
  constexpr int kVectors = kPanelWidth / Vec::kWidth;
  typename Vec::Type acc[kRows][kVectors];
  for (int m = 0; m < kRows; ++m)
    for (int v = 0; v < kVectors; ++v) acc[m][v] = accumulate ? Vec::load(c + m * c_stride + v * Vec::kWidth) : Vec::zero();
  for (int64_t k = 0; k < k_count; ++k) {
    typename Vec::Type row[kVectors];
    for (int v = 0; v < kVectors; ++v) row[v] = Vec::load(b + k * b_stride + v * Vec::kWidth);
    for (int m = 0; m < kRows; ++m) {
      const typename Vec::Type x = Vec::broadcast(a[k * kTileHeight + m]);
      for (int v = 0; v < kVectors; ++v) acc[m][v] = Vec::fma(x, row[v], acc[m][v]);
    }
  }
  for (int m = 0; m < kRows; ++m)
    for (int v = 0; v < kVectors; ++v) Vec::store(c + m * c_stride + v * Vec::kWidth, acc[m][v]);
}

template <class Vec>
void gemm_full_width(int64_t k_count, const float* a, const float* b, int64_t b_stride, float* c, int64_t c_stride, int rows,
                     bool accumulate) {
  // Tiles that need more registers than the machine has are cut into slices of rows; the order of the sum over k is untouched.
  constexpr int kSlice = Vec::kRowsInRegisters;
  int m = 0;
  for (; m + kSlice <= rows; m += kSlice) gemm_rows<Vec, kSlice>(k_count, a + m, b, b_stride, c + m * c_stride, c_stride, accumulate);
  for (; m < rows; ++m) gemm_rows<Vec, 1>(k_count, a + m, b, b_stride, c + m * c_stride, c_stride, accumulate);
}

template <class Vec>
void gemm_tile(int64_t k_count, const float* a, const float* b, int64_t b_stride, float* c, int64_t c_stride, int rows, int cols,
               bool accumulate) {
  if (cols == kPanelWidth) return gemm_full_width<Vec>(k_count, a, b, b_stride, c, c_stride, rows, accumulate);
  alignas(64) float edge[kTileHeight * kPanelWidth] = {};
  if (accumulate)
    for (int m = 0; m < rows; ++m) std::memcpy(edge + m * kPanelWidth, c + m * c_stride, sizeof(float) * static_cast<size_t>(cols));
  gemm_full_width<Vec>(k_count, a, b, b_stride, edge, kPanelWidth, rows, accumulate);
  for (int m = 0; m < rows; ++m) std::memcpy(c + m * c_stride, edge + m * kPanelWidth, sizeof(float) * static_cast<size_t>(cols));
}

inline float softmax_row(const float* x, int64_t n, float scale, float* out, float* largest_out) {
  const float top = largest(x, n) * scale;
  for (int64_t j = 0; j < n; ++j) out[j] = exp_f32(fused(x[j], scale, -top));
  *largest_out = top;
  return sum(out, n);
}

inline void rms_norm_row(const float* x, const float* weight, int64_t n, float eps, float* y, float* inverse_rms) {
  const float r = 1.0f / std::sqrt(dot(x, x, n) / static_cast<float>(n) + eps);
  for (int64_t i = 0; i < n; ++i) y[i] = weight[i] * (x[i] * r);
  *inverse_rms = r;
}

inline void rms_norm_row_backward(const float* x, const float* weight, const float* dy, int64_t n, float r, float* dx, float* weight_grad) {
  for (int64_t i = 0; i < n; ++i) dx[i] = dy[i] * weight[i];
  const float mean = dot(dx, x, n) * r * r / static_cast<float>(n);
  for (int64_t i = 0; i < n; ++i) {
    dx[i] = r * (dx[i] - x[i] * mean);
    weight_grad[i] = fused(dy[i], x[i] * r, weight_grad[i]);
  }
}

inline void swiglu(const float* gate, const float* up, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = gate[i] * sigmoid_f32(gate[i]) * up[i];
}

inline void swiglu_backward(const float* gate, const float* up, const float* dy, int64_t n, float* dgate, float* dup) {
  for (int64_t i = 0; i < n; ++i) {
    const float s = sigmoid_f32(gate[i]);
    const float silu = gate[i] * s;
    dup[i] = dy[i] * silu;
    dgate[i] = dy[i] * up[i] * (s + silu * (1.0f - s));
  }
}

inline void sigmoid(const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = sigmoid_f32(x[i]);
}

inline void add_scaled(const float* x, float scale, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = fused(x[i], scale, y[i]);
}

inline void rotate(float* first, float* second, int64_t n, int64_t step, const float* cosine, const float* sine, float sign) {
  for (int64_t i = 0; i < n; ++i) {
    const float x = first[i * step], y = second[i * step], s = sine[i] * sign;
    first[i * step] = x * cosine[i] - y * s;
    second[i * step] = y * cosine[i] + x * s;
  }
}

inline void softmax_row_backward(const float* p, const float* dp, int64_t n, float scale, float* ds) {
  const float mean = dot(p, dp, n);
  for (int64_t j = 0; j < n; ++j) ds[j] = p[j] * (dp[j] - mean) * scale;
}

inline void adamw(float* value, const float* grad, float* m, float* v, int64_t n, float grad_scale, float lr, float share1, float beta2,
                  float share2, float eps, float weight_decay, float bias1, float bias2_sqrt) {
  const float decay = 1.0f - lr * weight_decay, step = lr / bias1;
  for (int64_t i = 0; i < n; ++i) {
    const float g = grad[i] * grad_scale;
    const float w = value[i] * decay;
    m[i] = m[i] + (g - m[i]) * share1;
    v[i] = v[i] * beta2 + g * g * share2;
    value[i] = w - step * (m[i] / (std::sqrt(v[i]) / bias2_sqrt + eps));
  }
}

template <class Vec>
constexpr RowKernels make_table(const char* name) {
  return {name,       gemm_tile<Vec>, softmax_row,          rms_norm_row, rms_norm_row_backward, swiglu, swiglu_backward, sigmoid, dot,
          add_scaled, rotate,         softmax_row_backward, adamw};
}

}  // namespace COHORT_ISA
}  // namespace cohort::kernels
