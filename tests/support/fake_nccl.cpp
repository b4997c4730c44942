#include "tests/support/fake_nccl.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <set>
#include <utility>

using cohort::test::fake_nccl;

namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kRingBytes = size_t{1} << 20;
constexpr int kQueuingPolls = 2;  // polls for which an operation is "in progress" before it is on the stream

enum class Kind { kAllReduce, kReduce, kReduceScatter, kAllGather, kBroadcast, kSend, kReceive };

/// What two ranks must agree in for a message to be taken.
struct Tag {
  Kind kind;
  size_t count;
  ncclDataType_t type;
  int root;
  bool operator==(const Tag&) const = default;
};

/// Messages of one rank to another: a byte stream written by one and read by the other.
struct Ring {
  std::atomic<uint64_t> written, read;
  char bytes[kRingBytes];
};

struct Meeting {
  std::atomic<int> attached, ended;
  Ring rings[1];  // size x size

  static size_t bytes(int size) { return sizeof(Meeting) + sizeof(Ring) * static_cast<size_t>(size * size - 1); }
};

size_t width(ncclDataType_t type) { return type == ncclFloat32 ? 4 : 2; }

/// One call within an operation.
struct Part {
  Tag tag;
  const void* send;
  void* receive;
  int peer;  // of send and receive
  std::vector<char> own = {};
  std::vector<std::vector<char>> from = {};  // what came, by rank; empty: not yet
};

struct Operation {
  ncclComm* comm;
  std::vector<Part> parts;
  bool stuck = false;
};

}  // namespace

struct ncclComm {
  int rank, size, device;
  std::string path;
  Meeting* meeting;
  bool has_started = false, ending = false;
  int polls = 0;                // since the state last changed
  std::vector<Part> queuing{};  // not yet on the stream
  Clock::time_point since = Clock::now();

  Ring& ring(int from, int to) const { return meeting->rings[from * size + to]; }
};

struct CUevent_st {
  uint64_t target = 0;  // operations of this thread that must be done
};

namespace {

/// The device of this thread: one stream.
struct Device {
  std::set<ncclComm*> communicators;
  std::deque<Operation> stream;
  uint64_t queued = 0, done = 0;
  std::vector<std::pair<ncclComm*, Part>> group;
  Clock::time_point hanging_since = {};
  int ids = 0;
};

thread_local cohort::test::FakeNccl state;
thread_local Device device;

void misuse(const std::string& what) { state.misuse.push_back(what); }

bool over(Clock::time_point since) { return std::chrono::duration<double>(Clock::now() - since).count() > state.gives_up_s; }

void write(Ring& ring, const void* data, size_t length) {
  uint64_t at = ring.written.load();
  if (at + length - ring.read.load() > kRingBytes) return misuse("the fake has no room for a message this long");
  for (size_t i = 0; i < length; ++i) ring.bytes[(at + i) % kRingBytes] = static_cast<const char*>(data)[i];
  ring.written.store(at + length);
}

void read(Ring& ring, void* data, size_t length) {
  const uint64_t at = ring.read.load();
  for (size_t i = 0; i < length; ++i) static_cast<char*>(data)[i] = ring.bytes[(at + i) % kRingBytes];
  ring.read.store(at + length);
}

void post(const ncclComm& comm, int to, const Tag& tag, const void* data, size_t bytes) {
  std::vector<char> message(sizeof tag + bytes);
  std::memcpy(message.data(), &tag, sizeof tag);
  if (bytes > 0) std::memcpy(message.data() + sizeof tag, data, bytes);
  write(comm.ring(comm.rank, to), message.data(), message.size());
}

/// The message that is next from a rank. False: not there yet. Takes a message with another tag for a hang.
bool take(Operation& op, const Tag& tag, int from, size_t bytes, std::vector<char>& out) {
  Ring& ring = op.comm->ring(from, op.comm->rank);
  if (op.stuck || ring.written.load() - ring.read.load() < sizeof(Tag)) return false;
  Tag theirs{};
  read(ring, &theirs, sizeof theirs);
  if (theirs != tag) {
    op.stuck = true;
    return false;
  }
  out.resize(bytes);
  read(ring, out.data(), bytes);
  return true;
}

/// Which ranks this part sends to, and what: for each a start and a length in numbers.
struct Piece {
  int peer;
  size_t begin, count;
};

std::vector<Piece> outgoing(const ncclComm& comm, const Part& part) {
  std::vector<Piece> pieces;
  if (part.tag.count == 0) return pieces;
  for (int peer = 0; peer < comm.size; ++peer) {
    if (part.tag.kind == Kind::kSend) {
      if (peer == part.peer) pieces.push_back({peer, 0, part.tag.count});
      continue;
    }
    if (peer == comm.rank || part.tag.kind == Kind::kReceive) continue;
    if (part.tag.kind == Kind::kReduce && peer != part.tag.root) continue;
    if (part.tag.kind == Kind::kBroadcast && comm.rank != part.tag.root) continue;
    pieces.push_back({peer, part.tag.kind == Kind::kReduceScatter ? static_cast<size_t>(peer) * part.tag.count : 0, part.tag.count});
  }
  return pieces;
}

std::vector<int> awaited(const ncclComm& comm, const Part& part) {
  std::vector<int> peers;
  for (int peer = 0; peer < comm.size; ++peer) {
    if (part.tag.kind == Kind::kReceive) {
      if (peer == part.peer) peers.push_back(peer);
      continue;
    }
    if (peer == comm.rank || part.tag.kind == Kind::kSend) continue;
    if (part.tag.kind == Kind::kReduce && comm.rank != part.tag.root) continue;
    if (part.tag.kind == Kind::kBroadcast && peer != part.tag.root) continue;
    peers.push_back(peer);
  }
  return peers;
}

float to_float(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/// into += from, in the type.
void add(std::vector<char>& into, const std::vector<char>& from, ncclDataType_t type) {
  for (size_t i = 0; i < into.size(); i += width(type)) {
    if (type == ncclFloat32) {
      float a = 0, b = 0;
      std::memcpy(&a, &into[i], 4);
      std::memcpy(&b, &from[i], 4);
      a += b;
      std::memcpy(&into[i], &a, 4);
    } else {
      uint16_t a = 0, b = 0;
      std::memcpy(&a, &into[i], 2);
      std::memcpy(&b, &from[i], 2);
      a = to_bf16(to_float(a) + to_float(b));
      std::memcpy(&into[i], &a, 2);
    }
  }
}

/// All has come: writes the result.
void finish(const ncclComm& comm, Part& part) {
  const Tag& tag = part.tag;
  const size_t bytes = tag.count * width(tag.type);
  auto* out = static_cast<char*>(part.receive);
  switch (tag.kind) {
    case Kind::kSend:
      return;
    case Kind::kReceive:
      std::copy(part.from[static_cast<size_t>(part.peer)].begin(), part.from[static_cast<size_t>(part.peer)].end(), out);
      return;
    case Kind::kBroadcast: {
      const auto& source = comm.rank == tag.root ? part.own : part.from[static_cast<size_t>(tag.root)];
      std::copy(source.begin(), source.end(), out);
      return;
    }
    case Kind::kAllGather:
      part.from[static_cast<size_t>(comm.rank)] = part.own;
      for (size_t r = 0; r < part.from.size(); ++r) std::copy(part.from[r].begin(), part.from[r].end(), out + r * bytes);
      return;
    case Kind::kReduce:
    case Kind::kAllReduce:
    case Kind::kReduceScatter: {
      if (tag.kind == Kind::kReduce && comm.rank != tag.root) return;
      const auto begin =
          part.own.begin() + static_cast<std::ptrdiff_t>(tag.kind == Kind::kReduceScatter ? bytes * static_cast<size_t>(comm.rank) : 0);
      part.from[static_cast<size_t>(comm.rank)] = std::vector<char>(begin, begin + static_cast<std::ptrdiff_t>(bytes));
      for (size_t r = 1; r < part.from.size(); ++r) add(part.from[0], part.from[r], tag.type);
      std::copy(part.from[0].begin(), part.from[0].end(), out);
      return;
    }
  }
}

/// Puts an operation on the stream: what it sends is sent now.
void queue(ncclComm* comm, std::vector<Part> parts) {
  for (Part& part : parts) {
    const size_t blocks = part.tag.kind == Kind::kReduceScatter ? static_cast<size_t>(comm->size) : 1;
    const auto* data = static_cast<const char*>(part.send);
    if (data != nullptr) part.own.assign(data, data + part.tag.count * width(part.tag.type) * blocks);
    part.from.resize(static_cast<size_t>(comm->size));
    for (const Piece& piece : outgoing(*comm, part))
      post(*comm, piece.peer, part.tag, part.own.data() + piece.begin * width(part.tag.type), piece.count * width(part.tag.type));
  }
  device.stream.push_back({comm, std::move(parts)});
  ++device.queued;
  device.hanging_since = Clock::now();
}

/// Whether the operation is done after what has come by now.
bool progress(Operation& op) {
  for (Part& part : op.parts) {
    if (part.tag.count == 0) continue;
    const Tag wanted = part.tag.kind == Kind::kReceive ? Tag{Kind::kSend, part.tag.count, part.tag.type, part.tag.root} : part.tag;
    for (const int peer : awaited(*op.comm, part)) {
      auto& from = part.from[static_cast<size_t>(peer)];
      if (from.empty() && !take(op, wanted, peer, part.tag.count * width(part.tag.type), from)) return false;
    }
  }
  for (Part& part : op.parts)
    if (part.tag.count > 0) finish(*op.comm, part);
  return true;
}

bool known(ncclComm* comm, const char* function) {
  if (device.communicators.contains(comm)) return true;
  misuse(fmt::format("{} of a communicator that is gone", function));
  return false;
}

void leave(ncclComm* comm) {
  std::erase_if(device.stream, [&](const Operation& op) {
    if (op.comm != comm) return false;
    ++device.done;
    return true;
  });
  device.communicators.erase(comm);
  state.live_communicators = static_cast<int>(device.communicators.size());
  munmap(comm->meeting, Meeting::bytes(comm->size));
  unlink(comm->path.c_str());
  delete comm;
}

// ---- NCCL ----

ncclResult_t get_version(int* version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}

ncclResult_t get_unique_id(ncclUniqueId* id) {
  static std::atomic<int> count = 0;
  std::snprintf(id->internal, sizeof id->internal, "/dev/shm/cohort_fake_nccl.%d.%d", getpid(), ++count);
  return ncclSuccess;
}

const char* get_error_string(ncclResult_t result) {
  switch (result) {
    case ncclSuccess:
      return "no error";
    case ncclInProgress:
      return "NCCL operation in progress";
    case ncclRemoteError:
      return "remote process exited or there was a network error";
    case ncclSystemError:
      return "unhandled system error";
    default:
      return "another error";
  }
}

const char* get_last_error(ncclComm_t) { return "the fake says so"; }

ncclResult_t init_rank_config(ncclComm_t* out, int ranks, ncclUniqueId id, int rank, ncclConfig_t* config) {
  if (config == nullptr || config->size != sizeof *config || config->magic != 0xcafebeef || config->blocking != 0)
    misuse("ncclCommInitRankConfig that blocks");
  if (state.start_answer != ncclSuccess) return state.start_answer;
  const int file = open(id.internal, O_RDWR | O_CREAT, 0600);
  if (file < 0 || ftruncate(file, static_cast<off_t>(Meeting::bytes(ranks))) != 0) return ncclSystemError;
  void* memory = mmap(nullptr, Meeting::bytes(ranks), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory == MAP_FAILED) return ncclSystemError;
  *out = new ncclComm{
      .rank = rank, .size = ranks, .device = state.current_device, .path = id.internal, .meeting = static_cast<Meeting*>(memory)};
  device.communicators.insert(*out);
  state.live_communicators = static_cast<int>(device.communicators.size());
  if (!state.start_hangs && state.start_error == ncclSuccess && ++(*out)->meeting->attached == ranks) unlink(id.internal);
  return ncclInProgress;
}

ncclResult_t starting(ncclComm* comm) {
  if (state.start_error != ncclSuccess && ++comm->polls > kQueuingPolls) return state.start_error;
  if (comm->meeting->attached < comm->size && !over(comm->since)) return ncclInProgress;
  comm->has_started = true;
  comm->polls = 0;
  ++state.started;
  return ncclSuccess;
}

ncclResult_t queuing(ncclComm* comm) {
  if (++comm->polls <= kQueuingPolls) return ncclInProgress;
  if (state.launch_error != ncclSuccess) return state.launch_error;
  queue(comm, std::exchange(comm->queuing, {}));
  comm->polls = 0;
  return ncclSuccess;
}

ncclResult_t ending(ncclComm* comm) {
  if (state.end_hangs || comm->meeting->ended < comm->size) return over(comm->since) ? ncclSuccess : ncclInProgress;
  return ncclSuccess;
}

bool in_flight(const ncclComm* comm) {
  return std::any_of(device.stream.begin(), device.stream.end(), [&](const Operation& op) { return op.comm == comm; });
}

ncclResult_t get_async_error(ncclComm_t comm, ncclResult_t* out) {
  if (!known(comm, "ncclCommGetAsyncError")) return ncclInvalidArgument;
  if (!comm->has_started) {
    *out = starting(comm);
  } else if (comm->ending) {
    *out = ending(comm);
  } else if (!comm->queuing.empty()) {
    *out = queuing(comm);
  } else {
    *out = state.flight_error != ncclSuccess && in_flight(comm) && ++comm->polls > kQueuingPolls ? state.flight_error : ncclSuccess;
  }
  return ncclSuccess;
}

ncclResult_t finalize(ncclComm_t comm) {
  if (!known(comm, "ncclCommFinalize")) return ncclInvalidArgument;
  if (in_flight(comm)) misuse("ncclCommFinalize with an operation in flight");
  comm->ending = true;
  comm->since = Clock::now();
  ++comm->meeting->ended;
  return ncclInProgress;
}

ncclResult_t destroy(ncclComm_t comm) {
  if (!known(comm, "ncclCommDestroy")) return ncclInvalidArgument;
  if (!comm->ending || ending(comm) != ncclSuccess) misuse("ncclCommDestroy before the end of ncclCommFinalize");
  ++state.destroyed;
  leave(comm);
  return ncclSuccess;
}

ncclResult_t abort_communicator(ncclComm_t comm) {
  if (!known(comm, "ncclCommAbort")) return ncclInvalidArgument;
  ++state.aborted;
  leave(comm);
  return ncclSuccess;
}

ncclResult_t group_start() {
  ++state.open_groups;
  return ncclSuccess;
}

ncclResult_t group_end() {
  if (state.open_groups == 0) misuse("ncclGroupEnd without ncclGroupStart");
  --state.open_groups;
  if (device.group.empty()) return ncclSuccess;
  ncclComm* const comm = device.group.front().first;
  for (auto& [of, part] : device.group) {
    if (of != comm) misuse("the fake has groups of one communicator only");
    comm->queuing.push_back(std::move(part));
  }
  device.group.clear();
  return ncclInProgress;
}

ncclResult_t launch(const char* function, ncclComm_t comm, const Part& part) {
  state.calls.emplace_back(function);
  if (!known(comm, function)) return ncclInvalidArgument;
  if (!comm->has_started || !comm->queuing.empty()) misuse(fmt::format("{} while the communicator is in progress", function));
  if (state.current_device != comm->device)
    misuse(fmt::format("{} on device {} of a communicator on {}", function, state.current_device, comm->device));
  if (part.tag.type != ncclFloat32 && part.tag.type != ncclBfloat16) misuse(fmt::format("{} of a type that the fake cannot add", function));
  if (part.tag.root >= comm->size || part.peer >= comm->size) return ncclInvalidArgument;
  if (state.launch_answer != ncclSuccess) return state.launch_answer;
  if (state.open_groups > 0) {
    device.group.emplace_back(comm, part);
    return ncclSuccess;
  }
  comm->queuing.push_back(part);
  return ncclInProgress;
}

ncclResult_t all_reduce(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t, ncclComm_t comm, cudaStream_t) {
  return launch("ncclAllReduce", comm, {{Kind::kAllReduce, count, type, 0}, send, receive, 0});
}
ncclResult_t reduce(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t, int root, ncclComm_t comm,
                    cudaStream_t) {
  return launch("ncclReduce", comm, {{Kind::kReduce, count, type, root}, send, receive, 0});
}
ncclResult_t reduce_scatter(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t, ncclComm_t comm,
                            cudaStream_t) {
  return launch("ncclReduceScatter", comm, {{Kind::kReduceScatter, count, type, 0}, send, receive, 0});
}
ncclResult_t all_gather(const void* send, void* receive, size_t count, ncclDataType_t type, ncclComm_t comm, cudaStream_t) {
  return launch("ncclAllGather", comm, {{Kind::kAllGather, count, type, 0}, send, receive, 0});
}
ncclResult_t broadcast(const void* send, void* receive, size_t count, ncclDataType_t type, int root, ncclComm_t comm, cudaStream_t) {
  return launch("ncclBroadcast", comm, {{Kind::kBroadcast, count, type, root}, send, receive, 0});
}
ncclResult_t send_to(const void* send, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t) {
  return launch("ncclSend", comm, {{Kind::kSend, count, type, 0}, send, nullptr, peer});
}
ncclResult_t receive_from(void* receive, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t) {
  return launch("ncclRecv", comm, {{Kind::kReceive, count, type, 0}, nullptr, receive, peer});
}

// ---- CUDA ----

cudaError_t get_device_count(int* count) {
  *count = state.devices;
  return cudaSuccess;
}
cudaError_t get_device(int* out) {
  *out = state.current_device;
  return cudaSuccess;
}
cudaError_t set_device(int to) {
  if (to < 0 || to >= state.devices) return cudaErrorInvalidDevice;
  state.current_device = to;
  return cudaSuccess;
}
cudaError_t get_last_error() { return cudaSuccess; }
const char* cuda_error_string(cudaError_t error) { return error == cudaErrorIllegalAddress ? "an illegal memory access" : "another error"; }

cudaError_t event_create(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  ++state.live_events;
  return cudaSuccess;
}
cudaError_t event_destroy(cudaEvent_t event) {
  delete event;
  --state.live_events;
  return cudaSuccess;
}
cudaError_t event_record(cudaEvent_t event, cudaStream_t) {
  for (const ncclComm* comm : device.communicators)
    if (!comm->has_started || !comm->queuing.empty()) misuse("cudaEventRecord before NCCL has queued its operation");
  event->target = device.queued;
  return cudaSuccess;
}
cudaError_t event_query(cudaEvent_t event) {
  if (state.device_error != cudaSuccess) return state.device_error;
  const bool never = state.hangs || state.flight_error != ncclSuccess;
  while (!device.stream.empty() && (never ? over(device.hanging_since) : progress(device.stream.front()) || over(device.hanging_since))) {
    device.stream.pop_front();
    ++device.done;
    device.hanging_since = Clock::now();
  }
  return device.done >= event->target ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t allocate(void** out, size_t bytes) {
  *out = std::malloc(std::max(bytes, size_t{1}));
  std::memset(*out, 0x7b, bytes);
  ++state.live_allocations;
  return cudaSuccess;
}
cudaError_t release(void* memory) {
  std::free(memory);
  if (memory != nullptr) --state.live_allocations;
  return cudaSuccess;
}
cudaError_t copy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  if (bytes > 0) std::memcpy(to, from, bytes);
  return cudaSuccess;
}

}  // namespace

namespace cohort::test {

FakeNccl& fake_nccl() { return state; }

void reset_fake_nccl() {
  state = {};
  device = {};
}

const comm::NcclApi& fake_nccl_api() {
  static const comm::NcclApi api{.ncclGetVersion = get_version,
                                 .ncclGetUniqueId = get_unique_id,
                                 .ncclGetErrorString = get_error_string,
                                 .ncclGetLastError = get_last_error,
                                 .ncclCommInitRankConfig = init_rank_config,
                                 .ncclCommGetAsyncError = get_async_error,
                                 .ncclCommFinalize = finalize,
                                 .ncclCommDestroy = destroy,
                                 .ncclCommAbort = abort_communicator,
                                 .ncclGroupStart = group_start,
                                 .ncclGroupEnd = group_end,
                                 .ncclAllReduce = all_reduce,
                                 .ncclReduce = reduce,
                                 .ncclReduceScatter = reduce_scatter,
                                 .ncclAllGather = all_gather,
                                 .ncclBroadcast = broadcast,
                                 .ncclSend = send_to,
                                 .ncclRecv = receive_from,
                                 .cudaGetDeviceCount = get_device_count,
                                 .cudaGetDevice = get_device,
                                 .cudaSetDevice = set_device,
                                 .cudaGetLastError = get_last_error,
                                 .cudaEventCreateWithFlags = event_create,
                                 .cudaEventRecord = event_record,
                                 .cudaEventQuery = event_query,
                                 .cudaEventDestroy = event_destroy,
                                 .cudaMalloc = allocate,
                                 .cudaFree = release,
                                 .cudaMemcpy = copy,
                                 .cudaGetErrorString = cuda_error_string};
  return api;
}

}  // namespace cohort::test
