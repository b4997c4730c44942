#pragma once
/// Runs one test body in every kind of world: alone, on threads, and (under mpirun) on the ranks of the job.

#include <functional>
#include <string>

#include "core/base/error.h"
#include "distributed/comm/communicator.h"
#include "distributed/comm/mpi_session.h"
#include "distributed/comm/thread_world.h"

namespace cohort::test {

/// Catch2's macros are not made for many threads, so bodies that run on ranks check with this: a failure is an exception of the rank.
inline void expect(bool condition, const std::string& what) {
  if (!condition) throw std::logic_error("expected: " + what);
}

/// The message of the Fault that `body` throws; "" when it throws none.
inline std::string fault_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Fault& fault) {
    return fault.what();
  }
  return "";
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// A failure of one rank must not make the others wait for long.
inline comm::CommOptions impatient() { return {.deadline_s = 20.0}; }

/// On threads only; sizes that are powers of two and not.
inline void on_threads(const std::function<void(comm::Communicator)>& body) {
  for (int ranks : {2, 3, 4, 5}) comm::run_on_threads(ranks, body, impatient());
}

inline void on_mpi(const std::function<void(comm::Communicator)>& body) {
  const comm::Communicator world = comm::MpiSession::world(impatient());
  if (world.size() > 1) body(world);
}

inline void everywhere(const std::function<void(comm::Communicator)>& body) {
  body(comm::Communicator::self());
  on_threads(body);
  on_mpi(body);
}

}  // namespace cohort::test
