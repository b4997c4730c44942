// Compiled with -march=x86-64-v3.
#if defined(__AVX2__) && defined(__FMA__)
#define COHORT_ISA avx2
#include <immintrin.h>

#include "kernels/common/row_kernels_impl.h"

namespace cohort::kernels {
namespace {
struct Vec8 {
  using Type = __m256;
  static constexpr int kWidth = 8;
  static constexpr int kRowsInRegisters = 2;  // 2 × 4 accumulators of 16 registers, beside 4 for B
  static Type load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Type x) { _mm256_storeu_ps(p, x); }
  static Type zero() { return _mm256_setzero_ps(); }
  static Type broadcast(float x) { return _mm256_set1_ps(x); }
  static Type fma(Type a, Type b, Type c) { return _mm256_fmadd_ps(a, b, c); }
};
}  // namespace
extern const RowKernels kRowKernelsAvx2;
const RowKernels kRowKernelsAvx2 = avx2::make_table<Vec8>("avx2");
}  // namespace cohort::kernels
#endif
