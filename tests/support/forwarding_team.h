#pragma once
/// A team that is another one, for tests that change a call or two.

#include "core/pipeline/team.h"

namespace cohort::test {

class ForwardingTeam : public pipeline::Team {
 public:
  explicit ForwardingTeam(Team& team) : team_(team) {}
  int index() const override { return team_.index(); }
  int size() const override { return team_.size(); }
  Team* trainers() override { return team_.trainers() == &team_ ? this : team_.trainers(); }
  Team* rollouts() override { return team_.rollouts() == &team_ ? this : team_.rollouts(); }
  int trainer_count() const override { return team_.trainer_count(); }
  uint64_t publish(model::CausalLM& model, uint64_t version) override { return team_.publish(model, version); }
  void begin_stage() override { team_.begin_stage(); }
  std::vector<uint64_t> assign(uint64_t step, const std::vector<uint64_t>& ids) override { return team_.assign(step, ids); }
  void put_back(const std::vector<uint64_t>& ids) override { team_.put_back(ids); }
  std::vector<records::Group> exchange(std::vector<records::Group> mine, const std::function<int(uint64_t)>& owner) override {
    return team_.exchange(std::move(mine), owner);
  }
  std::vector<std::string> gather(const std::string& mine) override { return team_.gather(mine); }
  void sum(at::Tensor flat) override { team_.sum(flat); }
  at::Tensor tensor_for_sums(int64_t length) override { return team_.tensor_for_sums(length); }
  void reduce_scatter(at::Tensor flat) override { team_.reduce_scatter(flat); }
  void all_gather(at::Tensor flat) override { team_.all_gather(flat); }
  model::ExpertExchange* expert_exchange() override { return team_.expert_exchange(); }
  model::ParameterSharding* parameter_sharding() override { return team_.parameter_sharding(); }
  bool any(bool mine) override { return team_.any(mine); }
  void barrier(const char* label) override { team_.barrier(label); }

 private:
  Team& team_;
};

/// Asks everybody to stop from the n-th question whether to stop.
class StoppingTeam final : public ForwardingTeam {
 public:
  StoppingTeam(Team& team, int questions) : ForwardingTeam(team), left_(questions) {}
  bool any(bool mine) override { return ForwardingTeam::any(mine || --left_ <= 0); }

 private:
  int left_;
};

}  // namespace cohort::test
