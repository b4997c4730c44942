#pragma once
/// A group of ranks that talk to each other. A small value: copies share the group and its count of calls.
///
/// * Operations are blocking. All but send and recv are collective: every rank makes the same calls, with the same label and the same
///   root, in the same order. The calls are numbered, and number, operation and label travel with every message: ranks that disagree get a
///   Fault naming rank, host, operation, label and number instead of a hang or of somebody else's bytes.
/// * An operation in which nothing moves for deadline_s is a Fault that names the ranks it waits for.
/// * At size 1 every operation is the identity.
/// * After a Fault the group cannot be used any more.
/// * One thread at a time per rank.
///
/// Labels are at most kMaxLabel bytes and should say what is moved ("gradients"), not how.

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "distributed/comm/transport.h"

namespace cohort::comm {

class Communicator {
 public:
  /// A group of one.
  static Communicator self();
  explicit Communicator(std::shared_ptr<Transport> transport);

  int rank() const;
  int size() const;
  const std::string& host(int rank) const;  ///< name of the machine a rank runs on
  const std::string& host() const { return host(rank()); }
  int rank_in_job(int rank) const;  ///< a rank of this group as the job numbers it, for messages

  /// Not collective: counts from this rank's next call on. Seconds, > 0.
  void set_deadline(double seconds);
  double deadline() const;

  /// Bytes of every rank, in rank order, on every rank. Lengths may differ and may be 0.
  std::vector<std::string> all_gather(std::string_view label, std::string_view mine);

  /// `to_each` has one entry per rank. Returns what each rank sent to this one, in rank order.
  std::vector<std::string> all_to_all(std::string_view label, const std::vector<std::string>& to_each);

  /// Root's bytes, on every rank. What other ranks pass is ignored. Binomial tree: ⌈log2 size⌉ rounds.
  std::string broadcast(std::string_view label, std::string bytes, int root = 0);

  /// Bytes of every rank, in rank order, on root; an empty vector elsewhere. Ranks other than root may return before root has received.
  std::vector<std::string> gather(std::string_view label, std::string_view mine, int root = 0);

  /// True everywhere if true anywhere.
  bool any(std::string_view label, bool mine);

  /// Returns when every rank has entered.
  void barrier(std::string_view label);

  /// In place: values[i] becomes the sum over ranks of values[i], on every rank, the same bits everywhere.
  /// The order of additions is a binary tree over rank indices: neighbours first, then neighbouring pairs, and so on,
  ///   4 ranks: (r0 + r1) + (r2 + r3);   a rank without a partner waits for the next level:   3 ranks: (r0 + r1) + r2,
  ///   6 ranks: ((r0 + r1) + (r2 + r3)) + (r4 + r5).
  /// So the bits depend on the ranks' values only, never on timing, host or length; and a member that itself adds 2^k equal shares by the
  /// same tree gives the bits of 2^k members. All ranks must pass the same length, which may be 0.
  /// It is reduce_scatter and then all_gather_slices: about 2 · (size-1)/size of the buffer is sent per rank, half of it by each.
  void sum(std::string_view label, std::span<float> values);

  /// Memory for `count` ≥ 1 floats, not initialised, in which sum() is fastest: where the ranks are on one host, it is shared by them and
  /// the sum copies nothing. Where that cannot be had, ordinary memory. Collective; every rank passes the same count. It is freed with the
  /// last copy of the pointer, on each rank for itself.
  std::shared_ptr<float[]> floats_for_sums(std::string_view label, size_t count);

  /// In place: this rank's slice (slice_of) of values becomes that slice of sum(values), with the same bits; the other floats stay as they
  /// were. All ranks must pass the same length. Scratch memory is at most 16 MiB.
  void reduce_scatter(std::string_view label, std::span<float> values);

  /// In place: every rank's slice (slice_of) of its values, on every rank. All ranks must pass the same length.
  void all_gather_slices(std::string_view label, std::span<float> values);

  /// In place: rank r gets values [wanted[r].first, wanted[r].second), each from the rank in whose slice (slice_of) it is; its own slice
  /// stays. `wanted` has an entry per rank and is the same on all, and so is the length of values. Ranks that have nothing for each other
  /// do not wait for each other.
  void gather_ranges(std::string_view label, std::span<float> values, std::span<const std::pair<size_t, size_t>> wanted);

  /// The ranks that pass the same colour, as a group of their own in the order of this one. Collective over this group. It shares this
  /// group's deadline and, after a Fault, its end.
  Communicator split(std::string_view label, int colour);

  /// Point to point; 0 ≤ tag ≤ kMaxTag, peer is not this rank. Messages of one (sender, receiver, tag) arrive in order, and their labels
  /// must agree. send returns when the bytes may be reused, which may or may not be after the receiver has them.
  void send(std::string_view label, int peer, int tag, std::string_view bytes);
  std::string recv(std::string_view label, int peer, int tag);
  static constexpr int kMaxTag = kChannels - 2;

 private:
  struct State;
  Call next_call(Operation operation, std::string_view label);
  Call next_message(std::string_view label, int peer, int tag, bool sending);
  void require(const Call& call, bool condition, const std::string& what) const;
  std::vector<int> others() const;
  std::vector<std::string> by_rank(std::vector<Incoming> received, std::string mine) const;
  void add_slices(const Call& call, std::span<float> values);
  void add_window(const Call& call, std::span<float> values, size_t window, size_t width);
  void share_slices(const Call& call, std::span<float> values);

  std::shared_ptr<State> state_;
};

/// (first, length) of rank r's slice of `length` floats cut into `ranks` nearly equal runs: from ⌊length r / ranks⌋.
std::pair<size_t, size_t> slice_of(size_t length, int rank, int ranks);

/// The tree of Communicator::sum over rows[0], rows[1], …, all of one length ≥ that of rows[0]: the result is left in rows[0], the others
/// are used as scratch.
void add_by_tree(std::span<float* const> rows, size_t length);

}  // namespace cohort::comm
