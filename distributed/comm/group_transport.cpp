#include "distributed/comm/group_transport.h"

#include <algorithm>
#include <utility>

namespace cohort::comm {

GroupTransport::GroupTransport(std::shared_ptr<Transport> whole, std::vector<int> ranks, int group)
    : whole_(std::move(whole)),
      ranks_(std::move(ranks)),
      group_(group),
      rank_(static_cast<int>(std::find(ranks_.begin(), ranks_.end(), whole_->rank()) - ranks_.begin())) {}

void GroupTransport::transfer(const Call& call, std::span<const Outgoing> outgoing, std::span<Incoming> incoming) {
  Call in_whole = call;
  if (in_whole.group == 0) in_whole.group = group_;  // a group of a group has put its own number there
  std::vector<Outgoing> sent(outgoing.begin(), outgoing.end());
  for (Outgoing& message : sent) message.peer = ranks_[static_cast<size_t>(message.peer)];
  std::vector<Incoming> received;
  for (const Incoming& message : incoming) {
    received.push_back({.peer = ranks_[static_cast<size_t>(message.peer)], .place = message.place, .placed = message.placed});
  }
  whole_->transfer(in_whole, sent, received);
  for (size_t i = 0; i < incoming.size(); ++i) incoming[i].payload = std::move(received[i].payload);
}

}  // namespace cohort::comm
