#pragma once
/// NCCL and the CUDA runtime, pretended in host memory, as strict as the real ones about the order of calls. Ranks are threads or
/// processes of one machine (they meet in a file in /dev/shm). An operation is done when the rank polls for it (cudaEventQuery), not
/// before, and calls that the ranks do not make alike hang, as with the real NCCL.
///
/// Everything below is per thread, that is, per rank.

#include <string>
#include <vector>

#include "distributed/comm/nccl_api.h"

namespace cohort::test {

/// What goes wrong on this rank, and what has been done to the fake by it.
struct FakeNccl {
  // ---- set by a test ----
  int devices = 8;
  ncclResult_t start_answer = ncclSuccess;  ///< of ncclCommInitRankConfig
  ncclResult_t start_error = ncclSuccess;   ///< reported by a poll while starting
  bool start_hangs = false;
  ncclResult_t launch_answer = ncclSuccess;  ///< of an operation
  ncclResult_t launch_error = ncclSuccess;   ///< reported by a poll, while an operation is being queued
  ncclResult_t flight_error = ncclSuccess;   ///< reported by a poll, after an operation was queued; it never ends
  cudaError_t device_error = cudaSuccess;    ///< of cudaEventQuery
  bool hangs = false;                        ///< operations never end
  bool end_hangs = false;                    ///< ncclCommFinalize never ends
  /// What never ends does end after this time, without an error, so that a test of somebody who waits for ever fails instead of hanging.
  double gives_up_s = 10.0;

  // ---- read by a test ----
  int started = 0, aborted = 0, destroyed = 0;
  int live_communicators = 0, live_events = 0, live_allocations = 0;
  int open_groups = 0;
  int current_device = 0;
  std::vector<std::string> calls;   ///< names of the operations that were asked for
  std::vector<std::string> misuse;  ///< what the real ones do not allow
};

FakeNccl& fake_nccl();
/// Forgets faults and records; a test body begins with it.
void reset_fake_nccl();

const comm::NcclApi& fake_nccl_api();

}  // namespace cohort::test
