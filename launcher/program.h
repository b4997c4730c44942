#pragma once
/// From the command line to an exit code.

namespace cohort::launcher {

/// Runs the command that the arguments name. Every rank calls it with the same arguments, inside an MpiSession. Never throws: errors are
/// reported on stderr (rank 0 speaks for all where all found the same) and become the exit code of core/base/error.h.
int run_program(int argc, const char* const* argv) noexcept;

}  // namespace cohort::launcher
