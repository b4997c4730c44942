#include "core/base/memory.h"

#include <catch2/catch.hpp>
#include <fstream>
#include <string>

using namespace cohort;

namespace {

/// "VmHWM:   1234 kB" of /proc/self/status.
uint64_t high_water_mark() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::stoull(line.substr(6)) * 1024;
  return 0;
}

}  // namespace

TEST_CASE("the peak of resident memory is the kernel's high-water mark", "[base][memory]") {
  const uint64_t before = high_water_mark(), peak = peak_resident_bytes(), behind = high_water_mark();
  REQUIRE(before > 0);
  const uint64_t slack = 4 << 20;  // the kernel counts pages per processor, and adds them up now and then
  CHECK(peak + slack >= before);
  CHECK(peak <= behind + slack);
}
