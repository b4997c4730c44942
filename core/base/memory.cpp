#include "core/base/memory.h"

#include <sys/resource.h>

namespace cohort {

uint64_t peak_resident_bytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);  // cannot fail with these arguments
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace cohort
