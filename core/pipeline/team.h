#pragma once
/// The port through which a stage meets the other processes that run the same stage.
///
/// Every process runs the same stage code on its share of the work. In one process a Team is the identity (SoloTeam); with many,
/// distributed/roles/rank_team implements it over a Communicator. All calls are collective (every member makes the same calls in the
/// same order) and blocking, unless said otherwise.

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/model/expert_exchange.h"
#include "core/model/parameter_sharding.h"
#include "core/records/records.pb.h"

namespace cohort::model {
class CausalLM;
}

namespace cohort::pipeline {

/// The groups of one rollout round, taken by members that have room for them.
class Deal {
 public:
  virtual ~Deal() = default;
  /// At most `most` groups that this member rolls out, the next ones in the round's order; none when all are taken. Not collective.
  virtual std::vector<uint64_t> take(size_t most) = 0;
  /// After the last take, by every member that rolls out: the table of who took what is recorded, each group exactly once. Collective.
  virtual void close() = 0;
};

class Team {
 public:
  virtual ~Team() = default;

  virtual int index() const = 0;               ///< not collective; 0 ≤ index < size
  virtual int size() const = 0;                ///< not collective
  bool leads() const { return index() == 0; }  ///< the member that writes metrics and samples, and commits checkpoints

  /// The members that train, and those that roll out, as teams of their own, for work in which the others take no part. The team itself
  /// where every member does both; otherwise each member belongs to one of them, and the other one is null to it. Not collective.
  virtual Team* trainers() { return this; }
  virtual Team* rollouts() { return this; }
  /// How many members train: these are the first, so that a trainer has the same index here and in trainers(). Not collective.
  virtual int trainer_count() const { return size(); }

  /// After trainers have changed `model`: the rollout members get their weights and router biases. Returns the trainers' `version`
  /// (optimizer steps taken), on every member. Nothing is moved where every member trains.
  virtual uint64_t publish(model::CausalLM& model, uint64_t version) = 0;

  /// Group ids start again. Not blocking, but called by every member.
  virtual void begin_stage() = 0;

  /// Deals out the groups of one rollout round; returns those this member rolls out, ascending. Collective among rollouts() only.
  /// Every id is given to exactly one member; the table is recorded so that a group trained twice or never is a Fault.
  virtual std::vector<uint64_t> assign(uint64_t step, const std::vector<uint64_t>& group_ids) = 0;

  /// As assign(), but each member takes groups, in the order given, as it has room for them: a slow one gets fewer. Without a way to share
  /// a counter, as here, each takes its share of assign(). Collective among rollouts() only; one deal at a time.
  virtual std::unique_ptr<Deal> deal(uint64_t step, const std::vector<uint64_t>& group_ids);
  /// Takes back groups that assign dealt out since the last exchange and that are not to be trained on yet: they are not exchanged, and
  /// assign may deal them again, to any member. Not blocking, but called by all rollouts() with the same ids.
  virtual void put_back(const std::vector<uint64_t>& group_ids) = 0;

  /// Sends each of my groups to the member that trains it; returns the groups I train, ordered by id.
  /// `owner` must be the same function everywhere.
  virtual std::vector<records::Group> exchange(std::vector<records::Group> mine, const std::function<int(uint64_t group_id)>& owner) = 0;

  /// Bytes of every member, in member order, on every member.
  virtual std::vector<std::string> gather(const std::string& mine) = 0;

  /// In place: sum over members of a contiguous fp32 CPU tensor by a binary tree over member indices, so that the bits depend on the
  /// members' values only. The result is on every member.
  virtual void sum(at::Tensor flat) = 0;

  /// [begin, end) of the slice of `length` numbers that this member keeps: nearly equal runs in member order. Not collective.
  std::pair<int64_t, int64_t> slice(int64_t length) const { return {length * index() / size(), length * (index() + 1) / size()}; }

  /// A flat fp32 CPU tensor, not initialised, on which sum() is fastest. Collective, the same `length` ≥ 1 everywhere.
  virtual at::Tensor tensor_for_sums(int64_t length) = 0;

  /// In place, as sum(), but this member gets only its slice of the result; the rest is not defined afterwards.
  virtual void reduce_scatter(at::Tensor flat) = 0;

  /// In place: every member's slice of a contiguous fp32 CPU tensor, on every member.
  virtual void all_gather(at::Tensor flat) = 0;

  /// Through which members share the routed experts while training (cluster.expert_parallel_size); null: each runs all. Not collective.
  /// Its members are neighbours: those of this team from a multiple of its size on.
  virtual model::ExpertExchange* expert_exchange() { return nullptr; }

  /// Through which the members that train divide a model's parameters (trainer.parameter_sharding), in the slices of slice(); null: there
  /// is nobody to divide them with. Of trainers(). Not collective.
  virtual model::ParameterSharding* parameter_sharding() { return nullptr; }

  /// True everywhere if true anywhere. Stop requests go through this, so that all members stop at the same step.
  virtual bool any(bool mine) = 0;

  virtual void barrier(const char* label) = 0;
};

/// What assign() gave this member.
class ShareDeal final : public Deal {
 public:
  explicit ShareDeal(const std::vector<uint64_t>& share) : left_(share.begin(), share.end()) {}
  std::vector<uint64_t> take(size_t most) override {
    std::vector<uint64_t> taken;
    for (; taken.size() < most && !left_.empty(); left_.pop_front()) taken.push_back(left_.front());
    return taken;
  }
  void close() override {}

 private:
  std::deque<uint64_t> left_;
};

inline std::unique_ptr<Deal> Team::deal(uint64_t step, const std::vector<uint64_t>& group_ids) {
  return std::make_unique<ShareDeal>(assign(step, group_ids));
}

/// A team of one.
class SoloTeam final : public Team {
 public:
  int index() const override { return 0; }
  int size() const override { return 1; }
  uint64_t publish(model::CausalLM&, uint64_t version) override { return version; }
  void begin_stage() override {}
  std::vector<uint64_t> assign(uint64_t, const std::vector<uint64_t>& group_ids) override { return group_ids; }
  void put_back(const std::vector<uint64_t>&) override {}
  std::vector<records::Group> exchange(std::vector<records::Group> mine, const std::function<int(uint64_t)>&) override { return mine; }
  std::vector<std::string> gather(const std::string& mine) override { return {mine}; }
  void sum(at::Tensor) override {}
  at::Tensor tensor_for_sums(int64_t length) override { return at::empty({length}, at::kFloat); }
  void reduce_scatter(at::Tensor) override {}
  void all_gather(at::Tensor) override {}
  bool any(bool mine) override { return mine; }
  void barrier(const char*) override {}
};

}  // namespace cohort::pipeline
