#include "distributed/comm/nccl_group.h"

#include <fmt/format.h>

#include <chrono>
#include <cstring>
#include <exception>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/text_util.h"
#include "distributed/comm/back_off.h"
#include "distributed/comm/nccl_api.h"

namespace cohort::comm {
namespace {

using Clock = std::chrono::steady_clock;

/// One operation on one rank.
struct DeviceCall {
  std::string name;   ///< `device sum "gradients" #3`
  std::string shape;  ///< what the ranks must agree in besides
  Clock::time_point start = {};
};

constexpr const char* kStart = "device start \"nccl\" #0";

std::string message_of(const Communicator& host, const std::string& call, const std::string& what) {
  return fmt::format("rank {} (host {}): {}: {}", host.rank_in_job(host.rank()), host.host(), call, what);
}

const NcclApi& api_of(const Communicator& host, const NcclOptions& options) {
  if (options.api != nullptr) return *options.api;
  try {
    return system_nccl();
  } catch (const Fault& fault) {
    throw Fault(message_of(host, kStart, fault.what()));
  }
}

/// A non-blocking communicator answers ncclInProgress where another one would have waited.
bool failed(ncclResult_t result) { return result != ncclSuccess && result != ncclInProgress; }

size_t bytes_of(Element element) { return element == Element::kFloat32 ? 4 : 2; }
ncclDataType_t type_of(Element element) { return element == Element::kFloat32 ? ncclFloat32 : ncclBfloat16; }

std::string shape_of(const DeviceArray& values) {
  return fmt::format("of {} {}", values.length, values.element == Element::kFloat32 ? "fp32" : "bf16");
}

void* at(const DeviceArray& values, size_t index) { return static_cast<char*>(values.data) + index * bytes_of(values.element); }

/// Makes a device the thread's current one, and the former again at the end.
class DeviceGuard {
 public:
  DeviceGuard(const NcclApi& api, int device) : api_(api) {
    if (api_.cudaGetDevice(&before_) != cudaSuccess) before_ = device;
    error_ = api_.cudaSetDevice(device);
  }
  ~DeviceGuard() { api_.cudaSetDevice(before_); }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;
  cudaError_t error() const { return error_; }

 private:
  const NcclApi& api_;
  int before_ = 0;
  cudaError_t error_ = cudaSuccess;
};

/// The calls of `body` as one operation. The group is ended even after an error: it belongs to the thread, not to the communicator.
template <class Body>
ncclResult_t grouped(const NcclApi& api, Body body) {
  const ncclResult_t begun = api.ncclGroupStart();
  if (failed(begun)) return begun;
  const ncclResult_t result = body();
  const ncclResult_t ended = api.ncclGroupEnd();
  return failed(result) ? result : ended;
}

/// launch(slice, length, owner) for the slice of each rank that has one, as one operation: NCCL's own want slices of one length.
template <class Launch>
ncclResult_t for_each_slice(const NcclApi& api, DeviceArray values, int ranks, Launch launch) {
  return grouped(api, [&] {
    ncclResult_t result = ncclSuccess;
    for (int owner = 0; owner < ranks && !failed(result); ++owner) {
      const auto [begin, length] = slice_of(values.length, owner, ranks);
      if (length > 0) result = launch(at(values, begin), length, owner);
    }
    return result;
  });
}

}  // namespace

struct NcclGroup::State {
  Communicator host;
  const NcclApi& api;
  int device;
  bool check_calls;
  ncclComm_t comm = nullptr;
  cudaEvent_t done = nullptr;  // after the newest operation
  void* one = nullptr;         // a float for the barrier to add up
  uint64_t calls = 0;
  std::string broken_by;

  State(Communicator communicator, int on, const NcclOptions& options)
      : host(std::move(communicator)), api(api_of(host, options)), device(on), check_calls(options.check_calls) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    if (comm == nullptr && one == nullptr && done == nullptr) return;
    const DeviceGuard guard(api, device);
    if (comm != nullptr) close();
    if (one != nullptr) api.cudaFree(one);
    if (done != nullptr) api.cudaEventDestroy(done);
  }

  [[noreturn]] void fail(const DeviceCall& call, const std::string& what) {
    const std::string message = message_of(host, call.name, what);
    if (broken_by.empty()) broken_by = message;
    abort();
    throw Fault(message);
  }

  void abort() noexcept {
    if (comm != nullptr) api.ncclCommAbort(std::exchange(comm, nullptr));
  }

  void require(const DeviceCall& call, bool condition, const std::string& what) {
    if (!condition) fail(call, what);
  }

  void check(const DeviceCall& call, ncclResult_t result, const char* function) {
    if (!failed(result)) return;
    const char* detail = api.ncclGetLastError(comm);
    fail(call, fmt::format("{}: {} ({})", function, api.ncclGetErrorString(result),
                           printable(detail == nullptr || *detail == '\0' ? "no detail given" : detail, 300)));
  }

  void check(const DeviceCall& call, cudaError_t result, const char* function) {
    if (result != cudaSuccess) fail(call, fmt::format("{}: {}", function, api.cudaGetErrorString(result)));
  }

  /// Polls until NCCL is at rest and `is_done` says so.
  template <class IsDone>
  void wait(const DeviceCall& call, IsDone is_done) {
    for (int idle = 0;; ++idle) {
      ncclResult_t state = ncclSuccess;
      check(call, api.ncclCommGetAsyncError(comm, &state), "ncclCommGetAsyncError");
      check(call, state, "NCCL");
      if (state == ncclSuccess && is_done()) return;
      if (std::chrono::duration<double>(Clock::now() - call.start).count() > host.deadline())
        fail(call, fmt::format("not done after {} s: other ranks of the {} have not come to it, or a device or its network hangs",
                               host.deadline(), host.size()));
      back_off(idle);
    }
  }

  bool queue_is_done(const DeviceCall& call) {
    const cudaError_t result = api.cudaEventQuery(done);
    if (result != cudaErrorNotReady) check(call, result, "cudaEventQuery");
    if (result == cudaErrorNotReady) api.cudaGetLastError();  // it is no error, and the next to ask shall not take it for one
    return result == cudaSuccess;
  }

  void start();
  DeviceCall next_call(Operation operation, std::string_view label, const DeviceArray& values, const std::string& shape);
  /// Queues what `launch` queues on the stream and waits for its end.
  template <class Launch>
  void run(DeviceCall call, DeviceStream stream, Launch launch);
  void compare(const DeviceCall& call);
  void compare_lengths(const DeviceCall& call, std::span<const size_t> sent, std::span<const size_t> received);
  void close() noexcept;
};

void NcclGroup::State::start() {
  DeviceCall call{.name = kStart, .shape = {}};
  int devices = 0;
  check(call, api.cudaGetDeviceCount(&devices), "cudaGetDeviceCount");
  require(call, device >= 0 && device < devices, fmt::format("there is no device {}, expected one below {}", device, devices));
  const DeviceGuard guard(api, device);
  check(call, guard.error(), "cudaSetDevice");
  ncclUniqueId id{};
  if (host.rank() == 0) check(call, api.ncclGetUniqueId(&id), "ncclGetUniqueId");
  const std::string bytes = host.broadcast("nccl id", {id.internal, sizeof id.internal});
  require(call, bytes.size() == sizeof id.internal, fmt::format("rank 0 sent an id of {} bytes", bytes.size()));
  std::memcpy(id.internal, bytes.data(), sizeof id.internal);
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  call.start = Clock::now();
  check(call, api.ncclCommInitRankConfig(&comm, host.size(), id, host.rank(), &config), "ncclCommInitRankConfig");
  wait(call, [] { return true; });
  check(call, api.cudaEventCreateWithFlags(&done, cudaEventDisableTiming), "cudaEventCreateWithFlags");
  check(call, api.cudaMalloc(&one, sizeof(float)), "cudaMalloc");
}

DeviceCall NcclGroup::State::next_call(Operation operation, std::string_view label, const DeviceArray& values, const std::string& shape) {
  DeviceCall call{.name = fmt::format("device {} \"{}\" #{}", operation_name(operation), printable(label, kMaxLabel), ++calls),
                  .shape = shape};
  require(call, broken_by.empty(), "the group failed before: " + broken_by);
  require(call, label.size() <= kMaxLabel, "the label is too long");
  require(call, values.data != nullptr || values.length == 0, fmt::format("there is no memory for {} numbers", values.length));
  if (check_calls) compare(call);
  return call;
}

/// All ranks are about to make the same call.
void NcclGroup::State::compare(const DeviceCall& call) {
  const std::string mine = call.shape.empty() ? call.name : call.name + " " + call.shape;
  const std::vector<std::string> all = host.all_gather("device call", mine);
  for (int peer = 0; peer < host.size(); ++peer) {
    const std::string& theirs = all[static_cast<size_t>(peer)];
    if (theirs == mine) continue;
    fail(call, fmt::format("{}{}rank {} (host {}) is at {}: the ranks do not make the same calls", call.shape,
                           call.shape.empty() ? "" : "; ", host.rank_in_job(peer), host.host(peer), printable(theirs, 300)));
  }
}

/// Every rank compares all pairs, so that all of them stop here.
void NcclGroup::State::compare_lengths(const DeviceCall& call, std::span<const size_t> sent, std::span<const size_t> received) {
  const auto ranks = static_cast<size_t>(host.size());
  std::vector<size_t> mine(sent.begin(), sent.end());
  mine.insert(mine.end(), received.begin(), received.end());
  const auto all = host.all_gather("device lengths", {reinterpret_cast<const char*>(mine.data()), mine.size() * sizeof(size_t)});
  std::vector<std::vector<size_t>> table(ranks, std::vector<size_t>(2 * ranks));
  for (size_t r = 0; r < ranks; ++r) {
    require(call, all[r].size() == 2 * ranks * sizeof(size_t), fmt::format("rank {} sent {} bytes of lengths", r, all[r].size()));
    std::memcpy(table[r].data(), all[r].data(), all[r].size());
  }
  const auto name = [&](size_t r) {
    return fmt::format("rank {} (host {})", host.rank_in_job(static_cast<int>(r)), host.host(static_cast<int>(r)));
  };
  for (size_t from = 0; from < ranks; ++from) {
    for (size_t to = 0; to < ranks; ++to) {
      const size_t out = table[from][to], in = table[to][ranks + from];
      require(call, out == in, out == in ? "" : fmt::format("{} sends {} numbers where {} expects {}", name(from), out, name(to), in));
    }
  }
}

template <class Launch>
void NcclGroup::State::run(DeviceCall call, DeviceStream stream, Launch launch) {
  call.start = Clock::now();
  const DeviceGuard guard(api, device);
  check(call, guard.error(), "cudaSetDevice");
  check(call, launch(static_cast<cudaStream_t>(stream)), "NCCL");
  wait(call, [] { return true; });  // queued; only now may something follow it on the stream
  check(call, api.cudaEventRecord(done, static_cast<cudaStream_t>(stream)), "cudaEventRecord");
  wait(call, [&] { return queue_is_done(call); });
}

/// The others may still read from memory of this communicator when this rank's operation is done, so they are waited for; but not by a rank
/// that is leaving with an error.
void NcclGroup::State::close() noexcept {
  if (std::uncaught_exceptions() > 0) return abort();
  const auto start = Clock::now();
  ncclResult_t state = api.ncclCommFinalize(comm);
  for (int idle = 0; state == ncclSuccess || state == ncclInProgress; ++idle) {
    const ncclResult_t asked = api.ncclCommGetAsyncError(comm, &state);
    if (asked != ncclSuccess) state = asked;
    if (state == ncclSuccess) {
      api.ncclCommDestroy(std::exchange(comm, nullptr));
      return;
    }
    if (std::chrono::duration<double>(Clock::now() - start).count() > host.deadline()) break;
    back_off(idle);
  }
  log_warn("the NCCL communicator of rank {} did not end in order ({}) and is aborted", host.rank_in_job(host.rank()),
           api.ncclGetErrorString(state));
  abort();
}

NcclGroup::NcclGroup(Communicator host, int device, const NcclOptions& options)
    : state_(std::make_unique<State>(std::move(host), device, options)) {
  state_->start();
}
NcclGroup::~NcclGroup() = default;

int NcclGroup::rank() const { return state_->host.rank(); }
int NcclGroup::size() const { return state_->host.size(); }
int NcclGroup::device() const { return state_->device; }

void NcclGroup::sum(std::string_view label, DeviceArray values, DeviceStream stream) {
  State& s = *state_;
  const DeviceCall call = s.next_call(Operation::kSum, label, values, shape_of(values));
  s.run(call, stream, [&](cudaStream_t queue) {
    return s.api.ncclAllReduce(values.data, values.data, values.length, type_of(values.element), ncclSum, s.comm, queue);
  });
}

void NcclGroup::reduce_scatter(std::string_view label, DeviceArray values, DeviceStream stream) {
  State& s = *state_;
  const DeviceCall call = s.next_call(Operation::kReduceScatter, label, values, shape_of(values));
  const ncclDataType_t type = type_of(values.element);
  s.run(call, stream, [&](cudaStream_t queue) {
    if (values.length % static_cast<size_t>(size()) == 0) {
      const auto [begin, length] = slice_of(values.length, rank(), size());
      return s.api.ncclReduceScatter(values.data, at(values, begin), length, type, ncclSum, s.comm, queue);
    }
    return for_each_slice(s.api, values, size(), [&](void* slice, size_t length, int owner) {
      return s.api.ncclReduce(slice, slice, length, type, ncclSum, owner, s.comm, queue);
    });
  });
}

void NcclGroup::all_gather_slices(std::string_view label, DeviceArray values, DeviceStream stream) {
  State& s = *state_;
  const DeviceCall call = s.next_call(Operation::kAllGatherSlices, label, values, shape_of(values));
  const ncclDataType_t type = type_of(values.element);
  s.run(call, stream, [&](cudaStream_t queue) {
    if (values.length % static_cast<size_t>(size()) == 0) {
      const auto [begin, length] = slice_of(values.length, rank(), size());
      return s.api.ncclAllGather(at(values, begin), values.data, length, type, s.comm, queue);
    }
    return for_each_slice(s.api, values, size(), [&](void* slice, size_t length, int owner) {
      return s.api.ncclBroadcast(slice, slice, length, type, owner, s.comm, queue);
    });
  });
}

void NcclGroup::broadcast(std::string_view label, DeviceArray values, int root, DeviceStream stream) {
  State& s = *state_;
  const DeviceCall call = s.next_call(Operation::kBroadcast, label, values, fmt::format("{} from {}", shape_of(values), root));
  s.require(call, root >= 0 && root < size(), fmt::format("there is no rank {} to be root", root));
  s.run(call, stream, [&](cudaStream_t queue) {
    return s.api.ncclBroadcast(values.data, values.data, values.length, type_of(values.element), root, s.comm, queue);
  });
}

void NcclGroup::all_to_all(std::string_view label, DeviceArray send, std::span<const size_t> send_lengths, DeviceArray receive,
                           std::span<const size_t> receive_lengths, DeviceStream stream) {
  State& s = *state_;
  const DeviceCall call = s.next_call(Operation::kAllToAll, label, send, send.element == Element::kFloat32 ? "of fp32" : "of bf16");
  const auto fits = [&](const DeviceArray& values, std::span<const size_t> lengths) {
    return lengths.size() == static_cast<size_t>(size()) && std::accumulate(lengths.begin(), lengths.end(), size_t{0}) == values.length;
  };
  s.require(call, fits(send, send_lengths) && fits(receive, receive_lengths) && send.element == receive.element,
            fmt::format("expected {} lengths each that add up to the {} numbers sent and the {} received, of one type", size(), send.length,
                        receive.length));
  s.require(call, receive.data != nullptr || receive.length == 0, fmt::format("there is no memory for {} numbers", receive.length));
  if (s.check_calls) s.compare_lengths(call, send_lengths, receive_lengths);
  s.run(call, stream, [&](cudaStream_t queue) {
    return grouped(s.api, [&] {
      const ncclDataType_t type = type_of(send.element);
      ncclResult_t result = ncclSuccess;
      size_t sent = 0, received = 0;
      for (int peer = 0; peer < size() && !failed(result); ++peer) {
        const size_t out = send_lengths[static_cast<size_t>(peer)], in = receive_lengths[static_cast<size_t>(peer)];
        if (out > 0) result = s.api.ncclSend(at(send, sent), out, type, peer, s.comm, queue);
        if (in > 0 && !failed(result)) result = s.api.ncclRecv(at(receive, received), in, type, peer, s.comm, queue);
        sent += out;
        received += in;
      }
      return result;
    });
  });
}

void NcclGroup::barrier(std::string_view label, DeviceStream stream) {
  State& s = *state_;
  const DeviceCall call = s.next_call(Operation::kBarrier, label, {}, "");
  s.run(call, stream, [&](cudaStream_t queue) { return s.api.ncclAllReduce(s.one, s.one, 1, ncclFloat32, ncclSum, s.comm, queue); });
}

bool built_with_nccl() { return true; }

}  // namespace cohort::comm
