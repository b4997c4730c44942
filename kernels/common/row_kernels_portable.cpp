// Any machine. Without a hardware fused multiply-add this is slow (a library call each), but the bits are the same.
#define COHORT_ISA portable
#include "kernels/common/row_kernels_impl.h"

namespace cohort::kernels {
namespace {
struct Scalar {
  using Type = float;
  static constexpr int kWidth = 1;
  static constexpr int kRowsInRegisters = 1;
  static Type load(const float* p) { return *p; }
  static void store(float* p, Type x) { *p = x; }
  static Type zero() { return 0.0f; }
  static Type broadcast(float x) { return x; }
  static Type fma(Type a, Type b, Type c) { return __builtin_fmaf(a, b, c); }
};
}  // namespace
extern const RowKernels kRowKernelsPortable;
const RowKernels kRowKernelsPortable = portable::make_table<Scalar>("portable");
}  // namespace cohort::kernels
