#pragma once
/// N ranks pretended by N threads of this process: for tests, and for trying a layout without MPI.

#include <functional>

#include "distributed/comm/communicator.h"

namespace cohort::comm {

/// Runs body on `ranks` threads, each with its rank of one group, and waits for all. When a rank throws, the others get a Fault that quotes
/// it at their next (or present) operation; the exception that came first is rethrown here.
/// Blocking; not collective. ranks ≥ 1.
void run_on_threads(int ranks, const std::function<void(Communicator)>& body, const CommOptions& options = {});

}  // namespace cohort::comm
