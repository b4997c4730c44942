#include "core/base/walltime.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <string_view>

#include "core/base/error.h"
#include "core/base/text_util.h"

namespace cohort {

std::optional<double> seconds_to_walltime(const char* slurm_end, double unix_now, double walltime_s) {
  std::optional<double> left;
  if (walltime_s > 0.0) left = walltime_s;
  if (slurm_end == nullptr) return left;
  const std::string_view text = slurm_end;
  uint64_t end = 0;
  const auto [last, error] = std::from_chars(text.data(), text.data() + text.size(), end);
  if (error != std::errc() || last != text.data() + text.size())
    throw InputError("SLURM_JOB_END_TIME: expected seconds since 1970, found \"" + printable(text) + "\"");
  const double until_end = static_cast<double>(end) - unix_now;
  return left ? std::min(*left, until_end) : until_end;
}

double unix_seconds() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

}  // namespace cohort
