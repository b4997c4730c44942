#pragma once
/// The inner loops of the CPU kernels, one table per instruction set, chosen once at run time.
///
/// The tables hold the same arithmetic in the same order (see vector_math.h), so they agree to the bit; only their speed differs.
/// Everything is fp32 and contiguous; sizes in elements. None of these allocates or throws.

#include <cstdint>

namespace cohort::kernels {

/// Width of a packed panel of B and height of a tile of C in the widest table; packed layouts use these everywhere.
constexpr int kPanelWidth = 32;
constexpr int kTileHeight = 8;

struct RowKernels {
  const char* name;

  /// C[m, n] = (accumulate ? C : 0) + Σ_k A[k·kTileHeight + m] · B[k·b_stride + n], k ascending, one fused multiply-add each.
  /// m < rows ≤ kTileHeight, n < cols ≤ kPanelWidth; A packed by tile (padded with zeros), B rows readable up to kPanelWidth.
  void (*gemm_tile)(int64_t k_count, const float* a, const float* b, int64_t b_stride, float* c, int64_t c_stride, int rows, int cols,
                    bool accumulate);

  /// Softmax numerators of one row: out[j] = exp(scale·x[j] - scale·max), returns their sum; *largest receives scale·max.
  float (*softmax_row)(const float* x, int64_t n, float scale, float* out, float* largest);

  void (*rms_norm_row)(const float* x, const float* weight, int64_t n, float eps, float* y, float* inverse_rms);
  /// dx, and weight_grad += dy·x·r.
  void (*rms_norm_row_backward)(const float* x, const float* weight, const float* dy, int64_t n, float inverse_rms, float* dx,
                                float* weight_grad);

  void (*swiglu)(const float* gate, const float* up, int64_t n, float* y);
  void (*swiglu_backward)(const float* gate, const float* up, const float* dy, int64_t n, float* dgate, float* dup);
  void (*sigmoid)(const float* x, int64_t n, float* y);

  float (*dot)(const float* a, const float* b, int64_t n);
  void (*add_scaled)(const float* x, float scale, int64_t n, float* y);  ///< y = fma(x, scale, y)

  /// x·cos ∓ y·sin over n pairs; `step` 2 for adjacent pairs, 1 for halves (second = first + n). sign +1 rotates, -1 rotates back.
  void (*rotate)(float* first, float* second, int64_t n, int64_t step, const float* cosine, const float* sine, float sign);

  /// dS row of softmax attention: ds[j] = p[j]·(dp[j] - Σ_i p[i]·dp[i])·scale.
  void (*softmax_row_backward)(const float* p, const float* dp, int64_t n, float scale, float* ds);

  /// One AdamW update (Loshchilov & Hutter 2019, torch.optim.AdamW's order of operations). share1 = 1 - beta1 and share2 = 1 - beta2 come
  /// from double, because 1 - 0.999f is off by 1e-5.
  void (*adamw)(float* value, const float* grad, float* m, float* v, int64_t n, float grad_scale, float lr, float share1, float beta2,
                float share2, float eps, float weight_decay, float bias1, float bias2_sqrt);
};

/// The table of this machine: AVX-512, AVX2 with FMA, or portable. COHORT_ISA=portable|avx2|avx512 in the environment forces one
/// (a Fault if the machine lacks it).
const RowKernels& row_kernels();

/// For tests: the table of that name, or nullptr where the machine or the build lacks it.
const RowKernels* row_kernels_named(const char* name);

}  // namespace cohort::kernels
