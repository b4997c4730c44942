#pragma once
/// What this process is doing, in words, for the others to name when it falls silent. One per process; any thread.

#include <cstdint>
#include <string>
#include <string_view>

namespace cohort {

/// `steps` of the stage are done.
void note_stage(std::string_view stage, int64_t steps);

/// The communication that was entered last: operation, label and number of the call.
void note_operation(std::string_view operation, std::string_view label, uint64_t number);

/// `stage rl, 12 steps done, sum "tensor" #345`; "starting" before anything was noted.
std::string activity();

}  // namespace cohort
