#pragma once
/// Some ranks of another transport as a group of their own, numbered from 0. Made by Communicator::split.

#include <memory>
#include <vector>

#include "distributed/comm/transport.h"

namespace cohort::comm {

/// Its messages carry the group's number and so never meet those of another group. Faults name ranks as the whole job numbers them; after
/// one, neither the group nor the whole can be used. Options, the deadline among them, are those of the whole.
class GroupTransport final : public Transport {
 public:
  /// `ranks` of `whole`, ascending, this rank among them. `group` > 0 differs from that of every other group that two of them share.
  GroupTransport(std::shared_ptr<Transport> whole, std::vector<int> ranks, int group);

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(ranks_.size()); }
  const std::string& host(int rank) const override { return whole_->host(ranks_.at(static_cast<size_t>(rank))); }
  int rank_in_job(int rank) const override { return whole_->rank_in_job(ranks_.at(static_cast<size_t>(rank))); }
  void transfer(const Call& call, std::span<const Outgoing> outgoing, std::span<Incoming> incoming) override;
  CommOptions& options() override { return whole_->options(); }
  int& last_group() override { return whole_->last_group(); }

 private:
  std::shared_ptr<Transport> whole_;
  std::vector<int> ranks_;
  int group_;
  int rank_;
};

}  // namespace cohort::comm
