#pragma once
/// The ranks of a Communicator as a group that works in the memory of their GPUs, through NCCL.
///
/// * Operations are collective, as those of Communicator: every rank makes the same calls, with the same lengths, element type, label and
///   root, in the same order. They are queued on `stream` after what is there already, and they block until the device has done them. One
///   thread at a time per rank.
/// * NCCL is started without blocking and polled (ncclCommGetAsyncError, cudaEventQuery). An operation, with what the stream has to finish
///   before it, must be done within the Communicator's deadline.
/// * Errors, of NCCL, of CUDA or in the arguments, and a missed deadline are a Fault `rank 1 (host a): device sum "gradients" #3: …`. The
///   NCCL communicator is aborted first (ncclCommAbort, which also ends what hangs on the device), and every later call is a Fault. Other
///   ranks learn of it only from NCCL, their deadline or the end of the job: whoever gets a Fault must end the job.
/// * NCCL does not compare the ranks' calls. With `check_calls` they are compared on the host before each operation (number, operation,
///   label, lengths, type, root: one all_gather of the Communicator, two for all_to_all), and a difference is a Fault with both
///   calls. Without it, ranks that disagree hang until the deadline, whose Fault names each rank's own call; calls that NCCL takes for the
///   same, such as two sums of one length with different labels, go unnoticed.
///
/// Order of additions: NCCL's own (ring, tree or in the switch, chosen by it from length, topology and version), not the tree of
/// Communicator::sum, so the bits differ from those of the host and from one number of ranks to another. reduce_scatter need not give the
/// bits of sum. How bf16 is rounded on the way is NCCL's as well. An order of our own on the device is not there: it would need a kernel.
///
/// Built without NCCL (no_nccl.cpp), the constructor throws a Fault that says so.

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "distributed/comm/communicator.h"

namespace cohort::comm {

struct NcclApi;

enum class Element { kFloat32, kBfloat16 };

/// Numbers one after another in the memory of the group's device.
struct DeviceArray {
  void* data = nullptr;
  size_t length = 0;  ///< numbers, not bytes
  Element element = Element::kFloat32;
};

/// A cudaStream_t of the group's device; null is the default stream.
using DeviceStream = void*;

struct NcclOptions {
#ifdef NDEBUG
  bool check_calls = false;
#else
  bool check_calls = true;
#endif
  const NcclApi* api = nullptr;  ///< null: the libraries of the system (system_nccl)
};

class NcclGroup {
 public:
  /// Collective over `host`, whose count of calls it shares; `device` is the CUDA device of this rank, which no other rank of its host may
  /// use. Fault where the libraries or the device are missing.
  NcclGroup(Communicator host, int device, const NcclOptions& options = {});
  /// Waits until the other ranks have come to this as well, at most for the deadline; while an exception is passing it aborts instead.
  ~NcclGroup();
  NcclGroup(const NcclGroup&) = delete;
  NcclGroup& operator=(const NcclGroup&) = delete;

  int rank() const;
  int size() const;
  int device() const;

  /// In place: the sum over ranks, on every rank.
  void sum(std::string_view label, DeviceArray values, DeviceStream stream = nullptr);

  /// In place: this rank's slice (slice_of) of values becomes that slice of the sum; the other numbers are not defined
  /// afterwards.
  void reduce_scatter(std::string_view label, DeviceArray values, DeviceStream stream = nullptr);

  /// In place: every rank's slice (slice_of) of its values, on every rank.
  void all_gather_slices(std::string_view label, DeviceArray values, DeviceStream stream = nullptr);

  /// In place: root's values, on every rank.
  void broadcast(std::string_view label, DeviceArray values, int root, DeviceStream stream = nullptr);

  /// Ragged: `send` holds, one after another in rank order, send_lengths[r] numbers for each rank r; `receive` gets receive_lengths[r]
  /// numbers from each. What rank a sends to b must be as long as what b receives from a. The two do not overlap.
  void all_to_all(std::string_view label, DeviceArray send, std::span<const size_t> send_lengths, DeviceArray receive,
                  std::span<const size_t> receive_lengths, DeviceStream stream = nullptr);

  /// Returns when every rank has entered and has finished what was in its stream before.
  void barrier(std::string_view label, DeviceStream stream = nullptr);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Whether this build can use NCCL where its libraries and a GPU are.
bool built_with_nccl();

}  // namespace cohort::comm
