#include "kernels/common/row_kernels.h"

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>

namespace cohort::kernels {

extern const RowKernels kRowKernelsPortable;
#if defined(__x86_64__)
extern const RowKernels kRowKernelsAvx512;
extern const RowKernels kRowKernelsAvx2;
#endif

const RowKernels* row_kernels_named(const char* name) {
  const std::string_view wanted = name;
  if (wanted == "portable") return &kRowKernelsPortable;
#if defined(__x86_64__)
  if (wanted == "avx512" && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw"))
    return &kRowKernelsAvx512;
  if (wanted == "avx2" && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &kRowKernelsAvx2;
#endif
  return nullptr;
}

namespace {
const RowKernels& choose() {
  if (const char* forced = std::getenv("COHORT_ISA")) {
    if (const RowKernels* table = row_kernels_named(forced)) return *table;
    throw std::runtime_error(std::string("COHORT_ISA: expected portable, avx2 or avx512 as this machine has it, found ") + forced);
  }
  for (const char* name : {"avx512", "avx2"})
    if (const RowKernels* table = row_kernels_named(name)) return *table;
  return kRowKernelsPortable;
}
}  // namespace

const RowKernels& row_kernels() {
  static const RowKernels& chosen = choose();
  return chosen;
}

}  // namespace cohort::kernels
