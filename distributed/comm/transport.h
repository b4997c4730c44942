#pragma once
/// What a kind of communicator has to supply: moving labelled messages between ranks, with a deadline.
///
/// Every operation of Communicator is built from Transport::transfer, so the operations are the same code (and the same bits) on threads
/// and on MPI; only sum may take a shorter way, with the same bits. A message is a fixed Header followed by its payload. The header is
/// checked before memory for the payload is taken: a rank that makes another call, or the same call at another place, is found at the first
/// message it sends.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cohort::comm {

enum class Operation : uint32_t {
  kAllGather = 1,
  kAllToAll,
  kBroadcast,
  kGather,
  kBarrier,
  kSum,
  kPointToPoint,
  kReduceScatter,
  kAllGatherSlices
};

const char* operation_name(Operation operation);

struct CommOptions {
  double deadline_s = 600.0;                ///< longest time an operation may go without any message arriving or leaving
  uint64_t max_message_bytes = 1ULL << 36;  ///< larger messages are refused on both sides, before memory is taken
  bool shared_memory = true;                ///< sums between ranks of one host go through memory that they share
};

/// The longest label, in bytes. It travels whole, so that labels are compared and not their hashes.
inline constexpr size_t kMaxLabel = 95;

/// Channels of one group.
inline constexpr int kChannels = 30002;

/// One call of an operation on one rank.
struct Call {
  Operation operation;
  std::string label;
  uint64_t sequence;  ///< collectives count together; point-to-point counts per peer, tag and direction
  int channel = 0;    ///< 0 for collectives, tag + 1 for point-to-point; < kChannels
  int group = 0;  ///< 0: all ranks; else a part of them (GroupTransport). Messages of one group and channel between two ranks keep order
};

/// First part of every message. Plain bytes: all ranks of a job run the same program on the same kind of machine. A rank with another build
/// of the program is told by `version`, which changes with this struct and with what operations send; magic and version stay first.
struct Header {
  uint64_t magic = kMagic;
  uint32_t version = kVersion;
  uint32_t operation = 0;
  uint64_t sequence = 0;
  uint64_t bytes = 0;
  char label[kMaxLabel + 1] = {};

  bool operator==(const Header&) const = default;

  static constexpr uint64_t kMagic = 0x31304d4d4f434843;
  static constexpr uint32_t kVersion = 2;
};
static_assert(sizeof(Header) == 128);

/// "rank 1 (host a) speaks version 3 …, this rank version 2 …", or "" where a header is of this version.
std::string version_problem(const Header& header, const std::string& peer);

struct Outgoing {
  int peer;
  std::string_view payload;  ///< must stay in place until transfer returns
};

struct Incoming {
  int peer;
  std::span<char> place = {};  ///< where the payload goes when its size is known beforehand …
  bool placed = false;         ///< … (then any other size is a Fault) …
  std::string payload = {};    ///< … otherwise it is put here
};

class SharedBlock;

class Transport {
 public:
  virtual ~Transport() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual const std::string& host(int rank) const = 0;
  virtual int rank_in_job(int rank) const { return rank; }  ///< differs in a part of the job (GroupTransport)

  /// Sends and receives all of these messages, in any order; returns when every payload has arrived and every outgoing one may be
  /// reused. At most one message per peer and direction; no peer is the rank itself.
  /// Throws Fault on a mismatch, on a lost connection, and when nothing has moved for options().deadline_s. After a Fault the transport
  /// refuses every further call: the state of the other ranks is unknown.
  virtual void transfer(const Call& call, std::span<const Outgoing> outgoing, std::span<Incoming> incoming) = 0;

  /// In place and to the bit what Communicator::sum says, where this transport has something faster than messages. False, on all ranks
  /// alike: it has not, and nothing was done. Throws as transfer does.
  virtual bool sum(const Call& call, std::span<float> values);

  /// Whether all ranks can share memory, so that sum() of a SharedBlock needs no copies; alike on all of them.
  virtual bool shares_memory() const { return false; }
  /// From now on sum() works in place where it is given the beginning of this block. `number` names it, alike on all ranks; > 0. Only
  /// where memory is shared.
  virtual void adopt(const std::shared_ptr<SharedBlock>& block, uint64_t number);

  virtual CommOptions& options() { return options_; }

  /// The highest number of a group that this rank has been in.
  virtual int& last_group() { return last_group_; }

 protected:
  Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  /// Fault when an earlier call has failed. First thing in transfer.
  void require_whole(const Call& call);
  /// The header that announces `bytes` of payload. Fault when that is too much.
  Header make_header(const Call& call, uint64_t bytes);
  /// Checks what arrived from a peer against the call being made here, and makes room for the payload.
  void accept(const Call& call, const Header& header, Incoming& incoming);
  /// Throws Fault `rank 1 (host a): all_gather "metrics" #17: ` + what, and remembers it for require_whole.
  [[noreturn]] void fail(const Call& call, const std::string& what);
  /// fail because nothing moved for the deadline; `peers` are those it waits for, in any order, perhaps repeated.
  [[noreturn]] void fail_stalled(const Call& call, std::vector<int> peers);
  /// "rank 2 (host b)"
  std::string name_of(int rank) const;

 private:
  CommOptions options_;
  int last_group_ = 0;
  std::string broken_by_;
};

}  // namespace cohort::comm
