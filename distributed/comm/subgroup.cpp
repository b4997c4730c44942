#include "distributed/comm/subgroup.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.h"
#include "distributed/comm/communicator.h"

namespace cohort::comm {
namespace {

class SubgroupTransport final : public Transport {
 public:
  SubgroupTransport(std::shared_ptr<Transport> whole, std::vector<int> members, int rank, int channel)
      : whole_(std::move(whole)), members_(std::move(members)), rank_(rank), channel_(channel) {}

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(members_.size()); }
  const std::string& host(int rank) const override { return whole_->host(in_whole(rank)); }

  void transfer(const Call& call, std::span<const Outgoing> outgoing, std::span<Incoming> incoming) override {
    if (call.channel != 0)
      throw Fault(fmt::format("{} \"{}\": a subgroup has collectives only", operation_name(call.operation), call.label));
    Call of_whole = call;
    of_whole.channel = channel_;
    std::vector<Outgoing> sent(outgoing.begin(), outgoing.end());
    for (Outgoing& message : sent) message.peer = in_whole(message.peer);
    std::vector<Incoming> received;
    for (const Incoming& message : incoming)
      received.push_back({.peer = in_whole(message.peer), .place = message.place, .placed = message.placed});
    whole_->transfer(of_whole, sent, received);
    for (size_t i = 0; i < received.size(); ++i) incoming[i].payload = std::move(received[i].payload);
  }

 private:
  int in_whole(int rank) const { return members_[static_cast<size_t>(rank)]; }

  std::shared_ptr<Transport> whole_;
  std::vector<int> members_;
  int rank_;
  int channel_;
};

}  // namespace

std::shared_ptr<Transport> make_subgroup(std::shared_ptr<Transport> whole, std::vector<int> members, int id) {
  if (id < 0 || id > kMaxSubgroup) throw Fault(fmt::format("subgroup {} is not in 0 … {}", id, kMaxSubgroup));
  const auto me = std::find(members.begin(), members.end(), whole->rank());
  if (me == members.end()) throw Fault(fmt::format("rank {} is no member of subgroup {}", whole->rank(), id));
  for (size_t i = 0; i < members.size(); ++i)
    if (members[i] < 0 || members[i] >= whole->size() || (i > 0 && members[i] <= members[i - 1]))
      throw Fault(fmt::format("subgroup {}: members must be ascending ranks below {}, found {}", id, whole->size(), members[i]));
  const int rank = static_cast<int>(me - members.begin());
  return std::make_shared<SubgroupTransport>(std::move(whole), std::move(members), rank, Communicator::kMaxTag + 2 + id);
}

}  // namespace cohort::comm
