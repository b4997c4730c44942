#include "tests/fuzz/coverage.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

extern char __executable_start;  // of the linker: addresses less this one are the same in every run

namespace cohort::fuzz {
namespace {

constexpr size_t kSlots = size_t{1} << 16;  // several edges may share one: some new ones are missed then
std::array<uint8_t, kSlots> passes;         // of the input at hand, saturated
std::array<uint8_t, kSlots> seen;           // of all inputs before: one bit per power of two

}  // namespace

void start_coverage() { passes.fill(0); }

bool found_new_coverage() {
  bool found = false;
  for (size_t word = 0; word < kSlots; word += sizeof(uint64_t)) {
    uint64_t eight = 0;  // nearly all are zero
    std::memcpy(&eight, passes.data() + word, sizeof eight);
    for (size_t i = word; eight != 0 && i < word + sizeof eight; ++i) {
      if (passes[i] == 0) continue;
      const auto bit = static_cast<uint8_t>(1U << (std::bit_width(passes[i]) - 1));
      found = found || (seen[i] & bit) == 0;
      seen[i] |= bit;
    }
  }
  return found;
}

size_t edges_found() {
  return static_cast<size_t>(std::count_if(seen.begin(), seen.end(), [](uint8_t bits) { return bits != 0; }));
}

}  // namespace cohort::fuzz

extern "C" void __sanitizer_cov_trace_pc();
extern "C" void __sanitizer_cov_trace_pc() {
  const auto offset = reinterpret_cast<uintptr_t>(__builtin_return_address(0)) - reinterpret_cast<uintptr_t>(&__executable_start);
  uint8_t& count = cohort::fuzz::passes[(offset ^ (offset >> 16)) % cohort::fuzz::kSlots];
  if (count != UINT8_MAX) ++count;
}
