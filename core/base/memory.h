#pragma once
/// Memory of this process.

#include <cstdint>

namespace cohort {

/// The most bytes of physical memory that this process has had at once (VmHWM, getrusage(2)).
uint64_t peak_resident_bytes();

}  // namespace cohort
