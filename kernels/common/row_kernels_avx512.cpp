// Compiled with -march=x86-64-v4.
#if defined(__AVX512F__)
#define COHORT_ISA avx512
#include <immintrin.h>

#include "kernels/common/row_kernels_impl.h"

namespace cohort::kernels {
namespace {
struct Vec16 {
  using Type = __m512;
  static constexpr int kWidth = 16;
  static constexpr int kRowsInRegisters = 8;  // 8 × 2 accumulators of 32 registers
  static Type load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Type x) { _mm512_storeu_ps(p, x); }
  static Type zero() { return _mm512_setzero_ps(); }
  static Type broadcast(float x) { return _mm512_set1_ps(x); }
  static Type fma(Type a, Type b, Type c) { return _mm512_fmadd_ps(a, b, c); }
};
}  // namespace
extern const RowKernels kRowKernelsAvx512;
const RowKernels kRowKernelsAvx512 = avx512::make_table<Vec16>("avx512");
}  // namespace cohort::kernels
#endif
