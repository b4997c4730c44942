#include "distributed/comm/mpi_session.h"

#include <fmt/format.h>
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "core/base/error.h"
#include "distributed/comm/back_off.h"
#include "distributed/comm/launch_check.h"
#include "distributed/comm/mpi_transport.h"

namespace cohort::comm {
namespace {

constexpr double kLeaveTogether_s = 10.0;

std::optional<std::string> environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

bool mpi_in_use() {
  int started = 0;
  int ended = 0;
  MPI_Initialized(&started);
  MPI_Finalized(&ended);
  return started != 0 && ended == 0;
}

int world_size() {
  int size = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

}  // namespace

MpiSession::MpiSession(int* argc, char*** argv) {
  if (const std::string problem = srun_problem(environment); !problem.empty()) throw InputError(problem);
  // Serialized: the operations may come from any thread, one at a time.
  int provided = MPI_THREAD_SINGLE;
  if (MPI_Init_thread(argc, argv, MPI_THREAD_SERIALIZED, &provided) != MPI_SUCCESS) throw Fault("MPI_Init_thread failed");
  std::string problem = launch_problem(world_size(), true, environment);
  if (problem.empty() && provided < MPI_THREAD_SERIALIZED) {
    problem = fmt::format("launch: expected an MPI with MPI_THREAD_SERIALIZED, found thread level {}", provided);
  }
  if (!problem.empty()) {
    MPI_Finalize();
    throw InputError(problem);
  }
}

MpiSession::~MpiSession() {
  if (left_) return;
  std::fputs("an error left the MPI session unreported; the job is aborted\n", stderr);
  abort(kExitFault);
}

Communicator MpiSession::world(const CommOptions& options) {
  if (!mpi_in_use() || world_size() == 1) return Communicator::self();
  return Communicator(std::make_shared<MpiTransport>(MPI_COMM_WORLD, options));
}

void MpiSession::mpi_allreduce(std::span<float> values) {
  if (MPI_Allreduce(MPI_IN_PLACE, values.data(), static_cast<int>(values.size()), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD) != MPI_SUCCESS)
    throw Fault("MPI_Allreduce failed");
}

int MpiSession::leave(int code) noexcept {
  left_ = true;
  if (code == kExitFault && world_size() > 1) abort(code);
  std::vector<int> codes(static_cast<size_t>(world_size()), code);
  MPI_Request request = MPI_REQUEST_NULL;
  MPI_Iallgather(&code, 1, MPI_INT, codes.data(), 1, MPI_INT, MPI_COMM_WORLD, &request);
  const auto start = std::chrono::steady_clock::now();
  int done = 0;
  for (int idle = 0; true; ++idle) {
    MPI_Test(&request, &done, MPI_STATUS_IGNORE);
    if (done != 0) break;
    const double waited = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (code != kExitDone && waited > kLeaveTogether_s) abort(code);
    back_off(idle);
  }
  MPI_Finalize();
  return *std::max_element(codes.begin(), codes.end());
}

void MpiSession::abort(int code) noexcept {
  std::fflush(nullptr);
  if (mpi_in_use()) MPI_Abort(MPI_COMM_WORLD, code);
  std::_Exit(code);
}

bool built_with_mpi() { return true; }

}  // namespace cohort::comm
