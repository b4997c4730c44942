// mpi_session.h for a build without MPI: a world of one rank. mpi_session.cpp and mpi_transport.cpp take the place of this file in a build
// with MPI.

#include <cstdlib>

#include "core/base/error.h"
#include "distributed/comm/launch_check.h"
#include "distributed/comm/mpi_session.h"

namespace cohort::comm {

MpiSession::MpiSession(int* /*argc*/, char*** /*argv*/) {
  const std::string problem = launch_problem(1, false, [](const char* name) -> std::optional<std::string> {
    const char* value = std::getenv(name);
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  });
  if (!problem.empty()) throw InputError(problem);
}

MpiSession::~MpiSession() = default;  // nobody waits for this process

Communicator MpiSession::world(const CommOptions& /*options*/) { return Communicator::self(); }

void MpiSession::mpi_allreduce(std::span<float> /*values*/) { throw InputError("this build has no MPI to compare with"); }

int MpiSession::leave(int code) noexcept {
  left_ = true;
  return code;
}

void MpiSession::abort(int code) noexcept { std::_Exit(code); }

bool built_with_mpi() { return false; }

}  // namespace cohort::comm
