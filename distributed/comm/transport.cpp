#include "distributed/comm/transport.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "core/base/error.h"
#include "core/base/text_util.h"

namespace cohort::comm {
namespace {

/// The label of a received header: whatever the peer sent, it ends inside the field.
std::string label_of(const Header& header) { return std::string(header.label, strnlen(header.label, kMaxLabel)); }

std::string describe(Operation operation, const std::string& label, uint64_t sequence, int group) {
  const std::string where = group == 0 ? "" : fmt::format(" in group {}", group);
  return fmt::format("{} \"{}\" #{}{}", operation_name(operation), printable(label, kMaxLabel), sequence, where);
}

}  // namespace

const char* operation_name(Operation operation) {
  switch (operation) {
    case Operation::kAllGather:
      return "all_gather";
    case Operation::kAllToAll:
      return "all_to_all";
    case Operation::kBroadcast:
      return "broadcast";
    case Operation::kGather:
      return "gather";
    case Operation::kBarrier:
      return "barrier";
    case Operation::kSum:
      return "sum";
    case Operation::kPointToPoint:
      return "send/recv";
    case Operation::kReduceScatter:
      return "reduce_scatter";
    case Operation::kAllGatherSlices:
      return "all_gather_slices";
  }
  return "unknown operation";
}

std::string version_problem(const Header& header, const std::string& peer) {
  if (header.version == Header::kVersion) return "";
  return fmt::format("{} speaks version {} of the protocol between ranks, this rank version {}: they run different builds of the program",
                     peer, header.version, Header::kVersion);
}

std::string Transport::name_of(int rank) const { return fmt::format("rank {} (host {})", rank, host(rank)); }

void Transport::fail(const Call& call, const std::string& what) {
  const std::string message =
      fmt::format("{}: {}: {}", name_of(rank()), describe(call.operation, call.label, call.sequence, call.group), what);
  if (broken_by_.empty()) broken_by_ = message;
  throw Fault(message);
}

void Transport::fail_stalled(const Call& call, std::vector<int> peers) {
  constexpr size_t kShown = 8;
  std::sort(peers.begin(), peers.end());
  peers.erase(std::unique(peers.begin(), peers.end()), peers.end());
  std::vector<std::string> names;
  for (size_t i = 0; i < std::min(peers.size(), kShown); ++i) names.push_back(name_of(peers[i]));
  if (peers.size() > kShown) names.push_back(fmt::format("and {} more", peers.size() - kShown));
  fail(call, fmt::format("nothing moved for {} s, waiting for {}", options_.deadline_s, join(names)));
}

bool Transport::sum(const Call& /*call*/, std::span<float> /*values*/) { return false; }

void Transport::adopt(const std::shared_ptr<SharedBlock>& /*block*/, uint64_t /*number*/) {
  throw Fault("ranks that share no memory were given a shared block");
}

void Transport::require_whole(const Call& call) {
  if (!broken_by_.empty()) fail(call, "the group failed before: " + broken_by_);
}

Header Transport::make_header(const Call& call, uint64_t bytes) {
  if (bytes > options_.max_message_bytes) {
    fail(call, fmt::format("a message of {} bytes is over the limit of {}", bytes, options_.max_message_bytes));
  }
  Header header;
  header.operation = static_cast<uint32_t>(call.operation);
  header.sequence = call.sequence;
  header.bytes = bytes;
  std::memcpy(header.label, call.label.data(), std::min(call.label.size(), kMaxLabel));
  return header;
}

void Transport::accept(const Call& call, const Header& header, Incoming& incoming) {
  if (header.magic != Header::kMagic) fail(call, name_of(incoming.peer) + " sent something else than a message of this program");
  if (const std::string problem = version_problem(header, name_of(incoming.peer)); !problem.empty()) fail(call, problem);
  const auto operation = static_cast<Operation>(header.operation);
  const std::string label = label_of(header);
  if (operation != call.operation || header.sequence != call.sequence || label != call.label) {
    fail(call, fmt::format("{} is at {}: the ranks do not make the same calls", name_of(incoming.peer),
                           describe(operation, label, header.sequence, call.group)));
  }
  if (header.bytes > options_.max_message_bytes) {
    fail(call,
         fmt::format("{} announces {} bytes, over the limit of {}", name_of(incoming.peer), header.bytes, options_.max_message_bytes));
  }
  if (!incoming.placed) {
    incoming.payload.resize(header.bytes);
    incoming.place = std::span<char>(incoming.payload);
  } else if (header.bytes != incoming.place.size()) {
    fail(call, fmt::format("{} sends {} bytes where {} are expected", name_of(incoming.peer), header.bytes, incoming.place.size()));
  }
}

}  // namespace cohort::comm
