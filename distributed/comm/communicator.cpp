#include "distributed/comm/communicator.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <tuple>

#include "core/base/activity.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "distributed/comm/group_transport.h"
#include "distributed/comm/shared_block.h"

namespace cohort::comm {
namespace {

constexpr size_t kPieceFloats = size_t{1} << 22;  // bounds the scratch memory of a sum: 16 MiB

std::string this_host() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

/// The group of one. It has nobody to send to.
class SelfTransport final : public Transport {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  const std::string& host(int) const override { return host_; }
  void transfer(const Call& call, std::span<const Outgoing> outgoing, std::span<Incoming> incoming) override {
    require_whole(call);
    if (!outgoing.empty() || !incoming.empty()) fail(call, "there is no other rank");
  }

 private:
  std::string host_ = this_host();
};

std::span<char> as_bytes(std::span<float> values) { return {reinterpret_cast<char*>(values.data()), values.size_bytes()}; }

std::string_view as_view(std::span<const float> values) { return {reinterpret_cast<const char*>(values.data()), values.size_bytes()}; }

/// The part of a slice that the window-th piece of `width` floats covers: (first, length); nothing beyond the slice's end.
std::pair<size_t, size_t> window_of(std::pair<size_t, size_t> slice, size_t window, size_t width) {
  const size_t from = std::min(slice.second, window * width);
  return {slice.first + from, std::min(width, slice.second - from)};
}

}  // namespace

std::pair<size_t, size_t> slice_of(size_t length, int rank, int ranks) {
  const auto begin = length * static_cast<size_t>(rank) / static_cast<size_t>(ranks);
  const auto end = length * (static_cast<size_t>(rank) + 1) / static_cast<size_t>(ranks);
  return {begin, end - begin};
}

void add_by_tree(std::span<float* const> rows, size_t length) {
  for (size_t stride = 1; stride < rows.size(); stride *= 2) {
    for (size_t left = 0; left + stride < rows.size(); left += 2 * stride) {
      float* into = rows[left];
      const float* from = rows[left + stride];
#pragma omp simd
      for (size_t i = 0; i < length; ++i) into[i] += from[i];
    }
  }
}

struct Communicator::State {
  std::shared_ptr<Transport> transport;
  uint64_t collectives = 0;
  std::map<std::tuple<int, int, bool>, uint64_t> messages;  // (peer, tag, sending) → how many so far
};

Communicator Communicator::self() { return Communicator(std::make_shared<SelfTransport>()); }

Communicator::Communicator(std::shared_ptr<Transport> transport) : state_(std::make_shared<State>()) {
  state_->transport = std::move(transport);
}

int Communicator::rank() const { return state_->transport->rank(); }
int Communicator::size() const { return state_->transport->size(); }
const std::string& Communicator::host(int rank) const { return state_->transport->host(rank); }
int Communicator::rank_in_job(int rank) const { return state_->transport->rank_in_job(rank); }
double Communicator::deadline() const { return state_->transport->options().deadline_s; }

void Communicator::set_deadline(double seconds) {
  if (!(seconds > 0)) throw Fault(fmt::format("a deadline of {} s is not positive", seconds));
  state_->transport->options().deadline_s = seconds;
}

Call Communicator::next_call(Operation operation, std::string_view label) {
  const Call call{operation, std::string(label), ++state_->collectives};
  require(call, label.size() <= kMaxLabel && label.find('\0') == std::string_view::npos, "the label is too long");
  note_operation(operation_name(call.operation), call.label, call.sequence);
  return call;
}

Call Communicator::next_message(std::string_view label, int peer, int tag, bool sending) {
  const Call call{Operation::kPointToPoint, std::string(label), ++state_->messages[{peer, tag, sending}], tag + 1};
  require(call, label.size() <= kMaxLabel && label.find('\0') == std::string_view::npos, "the label is too long");
  require(call, peer >= 0 && peer < size() && peer != rank(), fmt::format("there is no other rank {}", peer));
  require(call, tag >= 0 && tag <= kMaxTag, fmt::format("tag {} is not in 0 … {}", tag, kMaxTag));
  note_operation(operation_name(call.operation), call.label, call.sequence);
  return call;
}

void Communicator::require(const Call& call, bool condition, const std::string& what) const {
  if (condition) return;
  throw Fault(
      fmt::format("rank {} (host {}): {} \"{}\" #{}: {}", rank(), host(), operation_name(call.operation), call.label, call.sequence, what));
}

std::vector<int> Communicator::others() const {
  std::vector<int> ranks;  // starting after this rank, so that not everybody sends to rank 0 first
  for (int i = 1; i < size(); ++i) ranks.push_back((rank() + i) % size());
  return ranks;
}

std::vector<std::string> Communicator::all_gather(std::string_view label, std::string_view mine) {
  const Call call = next_call(Operation::kAllGather, label);
  std::vector<Outgoing> outgoing;
  std::vector<Incoming> incoming;
  for (int peer : others()) {
    outgoing.push_back({peer, mine});
    incoming.push_back({.peer = peer});
  }
  state_->transport->transfer(call, outgoing, incoming);
  return by_rank(std::move(incoming), std::string(mine));
}

std::vector<std::string> Communicator::all_to_all(std::string_view label, const std::vector<std::string>& to_each) {
  const Call call = next_call(Operation::kAllToAll, label);
  require(call, to_each.size() == static_cast<size_t>(size()), fmt::format("{} entries for {} ranks", to_each.size(), size()));
  std::vector<Outgoing> outgoing;
  std::vector<Incoming> incoming;
  for (int peer : others()) {
    outgoing.push_back({peer, to_each[static_cast<size_t>(peer)]});
    incoming.push_back({.peer = peer});
  }
  state_->transport->transfer(call, outgoing, incoming);
  return by_rank(std::move(incoming), to_each[static_cast<size_t>(rank())]);
}

std::vector<std::string> Communicator::by_rank(std::vector<Incoming> received, std::string mine) const {
  std::vector<std::string> result(static_cast<size_t>(size()));
  for (Incoming& from : received) result[static_cast<size_t>(from.peer)] = std::move(from.payload);
  result[static_cast<size_t>(rank())] = std::move(mine);
  return result;
}

std::string Communicator::broadcast(std::string_view label, std::string bytes, int root) {
  const Call call = next_call(Operation::kBroadcast, label);
  require(call, root >= 0 && root < size(), fmt::format("there is no rank {} to be root", root));
  const int place = (rank() - root + size()) % size();  // in the tree, where root is 0
  int bit = 1;
  while (bit < size() && (place & bit) == 0) bit *= 2;
  if (place != 0) {
    std::vector<Incoming> from{{.peer = (rank() - bit + size()) % size()}};
    state_->transport->transfer(call, {}, from);
    bytes = std::move(from[0].payload);
  }
  std::vector<Outgoing> children;
  for (int step = bit / 2; step > 0; step /= 2) {
    if (place + step < size()) children.push_back({(rank() + step) % size(), bytes});
  }
  state_->transport->transfer(call, children, {});
  return bytes;
}

std::vector<std::string> Communicator::gather(std::string_view label, std::string_view mine, int root) {
  const Call call = next_call(Operation::kGather, label);
  require(call, root >= 0 && root < size(), fmt::format("there is no rank {} to be root", root));
  if (rank() != root) {
    const std::vector<Outgoing> to_root{{root, mine}};
    state_->transport->transfer(call, to_root, {});
    return {};
  }
  std::vector<Incoming> incoming;
  for (int peer : others()) incoming.push_back({.peer = peer});
  state_->transport->transfer(call, {}, incoming);
  return by_rank(std::move(incoming), std::string(mine));
}

bool Communicator::any(std::string_view label, bool mine) {
  const auto all = all_gather(label, mine ? "1" : "0");
  return std::find(all.begin(), all.end(), "1") != all.end();
}

void Communicator::barrier(std::string_view label) {
  // Dissemination: after the round of distance d a rank has heard, directly or not, from the 2d - 1 ranks before it.
  const Call call = next_call(Operation::kBarrier, label);
  for (int distance = 1; distance < size(); distance *= 2) {
    const std::vector<Outgoing> ahead{{(rank() + distance) % size(), {}}};
    std::vector<Incoming> behind{{.peer = (rank() - distance + size()) % size()}};
    state_->transport->transfer(call, ahead, behind);
  }
}

void Communicator::sum(std::string_view label, std::span<float> values) {
  const Call call = next_call(Operation::kSum, label);
  if (size() == 1 || state_->transport->sum(call, values)) return;
  add_slices(call, values);
  share_slices(call, values);
}

std::shared_ptr<float[]> Communicator::floats_for_sums(std::string_view label, size_t count) {
  if (size() == 1 || !state_->transport->shares_memory()) return std::make_shared_for_overwrite<float[]>(count);
  const std::shared_ptr<SharedBlock> block = SharedBlock::create(count);
  const std::vector<std::string> addresses = all_gather(label, block ? block->address() : "");
  const bool opened = block && block->open(addresses, rank());
  const bool failed = any(label, !opened);
  if (block) block->stop_sharing();
  if (failed) {
    if (rank() == 0)
      log_warn(
          "no {} MiB of memory can be shared between the ranks of this host (memory, or processes that cannot see each other): sums are "
          "slower",
          (count * sizeof(float)) >> 20);
    return std::make_shared_for_overwrite<float[]>(count);
  }
  state_->transport->adopt(block, state_->collectives);
  return {block, block->mine().data()};
}

void Communicator::reduce_scatter(std::string_view label, std::span<float> values) {
  add_slices(next_call(Operation::kReduceScatter, label), values);
}

void Communicator::all_gather_slices(std::string_view label, std::span<float> values) {
  share_slices(next_call(Operation::kAllGatherSlices, label), values);
}

void Communicator::add_slices(const Call& call, std::span<float> values) {
  if (size() == 1) return;
  const auto ranks = static_cast<size_t>(size());
  const size_t width = std::max(kPieceFloats / ranks, size_t{1}), longest = (values.size() + ranks - 1) / ranks;
  size_t window = 0;
  do {  // once even for nothing, so that a rank with another length is found here
    add_window(call, values, window++, width);
  } while (window * width < longest);
}

/// Every rank gets a window of its slice from all and adds it up.
void Communicator::add_window(const Call& call, std::span<float> values, size_t window, size_t width) {
  const auto part = [&](int rank) {
    const auto [begin, length] = window_of(slice_of(values.size(), rank, size()), window, width);
    return values.subspan(begin, length);
  };
  const std::span<float> own = part(rank());
  std::vector<float> scratch(own.size() * static_cast<size_t>(size() - 1));
  std::vector<float*> rows(static_cast<size_t>(size()), own.data());
  std::vector<Outgoing> outgoing;
  std::vector<Incoming> incoming;
  for (int peer : others()) {
    const std::span<float> place = std::span(scratch).subspan(incoming.size() * own.size(), own.size());
    rows[static_cast<size_t>(peer)] = place.data();
    outgoing.push_back({peer, as_view(part(peer))});
    incoming.push_back({.peer = peer, .place = as_bytes(place), .placed = true});
  }
  state_->transport->transfer(call, outgoing, incoming);
  add_by_tree(rows, own.size());
  if (rank() != 0) std::copy_n(rows[0], own.size(), own.data());
}

/// Every rank hands its slice to all.
void Communicator::share_slices(const Call& call, std::span<float> values) {
  const auto part = [&](int rank) {
    const auto [begin, length] = slice_of(values.size(), rank, size());
    return values.subspan(begin, length);
  };
  std::vector<Outgoing> outgoing;
  std::vector<Incoming> incoming;
  for (int peer : others()) {
    outgoing.push_back({peer, as_view(part(rank()))});
    incoming.push_back({.peer = peer, .place = as_bytes(part(peer)), .placed = true});
  }
  state_->transport->transfer(call, outgoing, incoming);
}

void Communicator::gather_ranges(std::string_view label, std::span<float> values, std::span<const std::pair<size_t, size_t>> wanted) {
  const Call call = next_call(Operation::kAllGatherSlices, label);
  require(call, wanted.size() == static_cast<size_t>(size()), fmt::format("{} ranges for {} ranks", wanted.size(), size()));
  const auto part = [&](int from, int to) {
    const auto [begin, end] = wanted[static_cast<size_t>(to)];
    require(call, begin <= end && end <= values.size(), fmt::format("there are no values {} to {} of {}", begin, end, values.size()));
    const auto [slice, length] = slice_of(values.size(), from, size());
    const size_t first = std::max(begin, slice), last = std::min(end, slice + length);
    return first < last ? values.subspan(first, last - first) : std::span<float>();
  };
  std::vector<Outgoing> outgoing;
  std::vector<Incoming> incoming;
  for (int peer : others()) {
    if (const std::span<float> theirs = part(rank(), peer); !theirs.empty()) outgoing.push_back({peer, as_view(theirs)});
    if (const std::span<float> mine = part(peer, rank()); !mine.empty())
      incoming.push_back({.peer = peer, .place = as_bytes(mine), .placed = true});
  }
  state_->transport->transfer(call, outgoing, incoming);
}

Communicator Communicator::split(std::string_view label, int colour) {
  const std::array<int, 2> mine = {colour, state_->transport->last_group()};
  const auto all = all_gather(label, {reinterpret_cast<const char*>(mine.data()), sizeof mine});
  std::vector<int> ranks;
  int group = 0;
  for (int peer = 0; peer < size(); ++peer) {
    const std::string& bytes = all[static_cast<size_t>(peer)];
    std::array<int, 2> theirs{};
    if (bytes.size() != sizeof theirs) throw Fault(fmt::format("split \"{}\": a rank sent {} bytes", label, bytes.size()));
    std::memcpy(theirs.data(), bytes.data(), sizeof theirs);
    if (theirs[0] == colour) ranks.push_back(peer);
    group = std::max(group, theirs[1] + 1);
  }
  state_->transport->last_group() = group;  // the same for all colours: their groups have no rank in common
  return Communicator(std::make_shared<GroupTransport>(state_->transport, std::move(ranks), group));
}

void Communicator::send(std::string_view label, int peer, int tag, std::string_view bytes) {
  const Call call = next_message(label, peer, tag, true);
  const std::vector<Outgoing> outgoing{{peer, bytes}};
  state_->transport->transfer(call, outgoing, {});
}

std::string Communicator::recv(std::string_view label, int peer, int tag) {
  const Call call = next_message(label, peer, tag, false);
  std::vector<Incoming> incoming{{.peer = peer}};
  state_->transport->transfer(call, {}, incoming);
  return std::move(incoming[0].payload);
}

}  // namespace cohort::comm
