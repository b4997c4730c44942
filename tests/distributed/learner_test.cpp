// Optimizer steps on ranks that have a slice of the optimizer each (ZeRO-1), or of the parameters too, that share the experts, that
// recompute: as one process with all.
#include "core/pipeline/learner.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "core/model/logprobs.h"
#include "core/model/paged_tensor.h"
#include "distributed/roles/rank_team.h"
#include "tests/distributed/worlds.h"

namespace cohort::pipeline {
namespace {

using test::expect;

constexpr int64_t kItems = 10;  // slots of 2 and of 3, each item a pass: ranks that share experts have different numbers of passes
constexpr int64_t kSlots = 4;

model::Architecture shape() {
  model::Architecture a = model::architecture_preset("deepseek_v3_tiny");
  a.vocab_size = 272;
  return a;
}

struct Way {
  int64_t expert_parallel;
  bool sharded, recompute, full = false;
};

/// The sharding of a team, which looks at the memory of the values whenever something has been gathered.
class WatchedSharding final : public model::ParameterSharding {
 public:
  WatchedSharding(model::ParameterSharding& sharding, int64_t model_size) : sharding_(sharding), model_size_(model_size) {}
  int64_t index() const override { return sharding_.index(); }
  int64_t size() const override { return sharding_.size(); }
  Range slice(int64_t length) const override { return sharding_.slice(length); }
  void gather(at::Tensor flat, const std::vector<Range>& wanted) override {
    sharding_.gather(flat, wanted);
    const auto [begin, end] = wanted[static_cast<size_t>(index())];
    if (end - begin < model_size_) peak = std::max(peak, model::resident_bytes(flat));
  }
  bool any(bool mine) override { return sharding_.any(mine); }

  int64_t peak = 0;  ///< bytes, while layers come one by one

 private:
  model::ParameterSharding& sharding_;
  int64_t model_size_;
};

int64_t numbers_of(const model::ParameterSet& set, const std::string& part) {
  int64_t count = 0;
  for (const model::Parameter& p : set.all())
    if (p.name.find(part) != std::string::npos) count += p.value.numel();
  return count;
}

/// Bytes that a member may hold of the values while layers come one by one: its slice, what is outside the layers, the largest layer; of
/// its experts those that the member runs. A page may be shared at both ends of each.
int64_t most_bytes(const model::ParameterSet& set, int64_t slice, int64_t expert_parallel) {
  const int64_t pages = (2 * 4 + 4) * sysconf(_SC_PAGESIZE);
  int64_t layer = 0;
  for (int i = 0; i < shape().num_hidden_layers; ++i) {
    const std::string name = "model.layers." + std::to_string(i) + ".";
    const int64_t experts = numbers_of(set, name + "mlp.experts.");
    layer = std::max(layer, numbers_of(set, name) - experts + experts / expert_parallel);
  }
  return 4 * (slice + set.size() - numbers_of(set, "model.layers.") + layer) + pages +
         shape().num_hidden_layers * 2 * sysconf(_SC_PAGESIZE);
}

/// What a member has after three steps.
struct Outcome {
  at::Tensor values;
  std::vector<double> norms;
  std::vector<bool> skipped;
};

/// Three steps, in the second of which the gradient of one number, the `spoiled`-th of the parameters, is not finite.
Outcome train(Team& team, const Way& way, int64_t spoiled) {
  model::CausalLM model(shape(), 5);
  model.set_recompute(way.recompute);
  const int64_t count = model.parameters().size();
  train::OptimConfig config;
  config.clip_grad = 0.5;
  train::Optimizer optimizer(model.parameters(), config, 3, way.sharded ? team.slice(count) : std::pair<int64_t, int64_t>(0, count));
  const int64_t held = way.sharded ? (count + team.size() - 1) / team.size() : count;
  expect(optimizer.first_moment().numel() <= held && optimizer.second_moment().numel() <= held, "moments of the slice only");
  std::unique_ptr<WatchedSharding> watched;
  if (way.full) {
    watched = std::make_unique<WatchedSharding>(*team.parameter_sharding(), count);
    model.shard_parameters(watched.get());
  }
  const auto expect_slice = [&] {
    if (!way.full) return;
    const int64_t bytes = model::resident_bytes(model.parameters().values());
    expect(bytes <= 4 * held + 2 * sysconf(_SC_PAGESIZE) && bytes >= 4 * (held - 1), "between uses the slice of the values only");
  };
  expect_slice();
  Learner learner(model, optimizer, team, kSlots, 0.001, 0.01);
  Outcome outcome;
  for (int step = 0; step < 3; ++step) {
    const auto result = learner.step(kItems, kItems, [&](int64_t begin, int64_t end, model::MoeTrace* trace) {
      for (int64_t i = begin; i < end; ++i) {
        const std::vector<int32_t> answer(static_cast<size_t>(3 + i), static_cast<int32_t>(65 + i));
        const auto r = model::completion_logprobs(model, {{{1, 2, static_cast<int32_t>(i)}, answer}}, 1.0, 272, trace);
        (std::exchange(trace->balance_loss, at::Tensor()) - r.logprob_N.sum()).backward();
      }
      if (step == 1 && begin == 0) model.parameters().grads()[spoiled] = std::nanf("");
      return std::vector<double>{static_cast<double>(end - begin)};
    });
    expect(result.sums[0] == kItems, "every item once");
    expect_slice();
    outcome.norms.push_back(result.optimizer.grad_norm);
    outcome.skipped.push_back(result.optimizer.skipped);
  }
  expect(optimizer.steps() == 2, "two steps that count");
  if (way.full)
    expect(watched->peak <= most_bytes(model.parameters(), held, way.expert_parallel),
           "one layer at a time, without the experts of others");
  const auto in_use = model.use_all();
  outcome.values = model.parameters().values().clone();
  return outcome;
}

std::vector<Way> ways(int ranks) {
  std::vector<Way> all = {{1, false, false}, {1, true, false}};
  all.insert(all.end(), {{1, true, false, true}, {1, true, true, true}});
  if (ranks > 1) all.insert(all.end(), {{2, false, false}, {2, true, true}, {2, true, false, true}, {2, true, true, true}});
  if (ranks > 2) all.insert(all.end(), {{4, true, false}, {4, false, true}, {4, true, false, true}, {4, true, true, true}});
  return all;
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && std::memcmp(a.data_ptr(), b.data_ptr(), a.nbytes()) == 0;
}

void check_against_solo(comm::Communicator world) {
  const int64_t last = model::CausalLM(shape(), 5).parameters().size() - 1;
  for (int64_t spoiled : {int64_t{0}, last}) {  // in the slice of the first and of the last rank
    SoloTeam alone;
    const Outcome wanted = train(alone, {1, false, false}, spoiled);
    expect(!wanted.skipped[0] && wanted.skipped[1] && !wanted.skipped[2], "a skipped step between two");
    expect(wanted.norms[0] > 0.5, "a gradient that is clipped");
    for (const Way& way : ways(world.size())) {
      roles::RankTeam team(world, 0, way.expert_parallel);
      const Outcome got = train(team, way, spoiled);
      expect(got.skipped == wanted.skipped, "the same steps, on every rank");
      expect(got.norms[0] == wanted.norms[0] && got.norms[2] == wanted.norms[2], "the bits of the norm");
      expect(same_bits(got.values, wanted.values), "the bits of the weights");
    }
  }
}

}  // namespace

TEST_CASE("sharded optimizers and shared experts step, clip and skip as one process does, on every rank") {
  check_against_solo(comm::Communicator::self());
  for (int ranks : {2, 4}) comm::run_on_threads(ranks, check_against_solo, test::impatient());
  test::on_mpi([](comm::Communicator world) {
    if (kSlots % world.size() == 0) check_against_solo(world);
  });
}

namespace {

at::Tensor logprobs(model::CausalLM& model, int64_t item) {
  return model::completion_logprobs(model, {{{1, 2, static_cast<int32_t>(item)}, {65, 66, 67}}}, 1.0, 272).logprob_N;
}

/// Without gradients, each member as many passes as its index says: the numbers of a model that is whole.
void check_passes_without_gradients(comm::Communicator world) {
  const at::NoGradGuard no_grad;
  roles::RankTeam team(world);
  model::CausalLM whole(shape(), 5), model(shape(), 5);
  const auto expect_same = [&](int64_t item) {
    expect(same_bits(logprobs(model, item), logprobs(whole, item)), "the bits of a whole model");
  };
  WatchedSharding watched(*team.parameter_sharding(), model.parameters().size());
  model.shard_parameters(&watched);
  expect(test::contains(test::fault_of([&] { logprobs(model, 0); }), "without its parameters"), "no pass outside of a use");
  {
    const auto in_use = model.use_layers();
    for (int64_t item = 0; item < world.rank(); ++item) expect_same(item);
    model.join_passes();
    expect(test::contains(test::fault_of([&] { (void)model.use_all(); }), "layer by layer"), "one kind of use at a time");
  }
  const int64_t slice = team.slice(model.parameters().size()).second - team.slice(model.parameters().size()).first;
  expect(watched.peak <= most_bytes(model.parameters(), slice, 1), "one layer at a time");
  {
    const auto in_use = model.use_all();
    expect(model.use_all() == nullptr && model.use_layers() == nullptr, "nothing to do inside");
    for (int64_t item = 0; item < world.rank(); ++item) expect_same(item);
  }
  expect(model::resident_bytes(model.parameters().values()) <= 4 * slice + 2 * sysconf(_SC_PAGESIZE), "afterwards the slice only");
}

}  // namespace

TEST_CASE("passes of a sharded model give the numbers of a whole one, with one layer at a time or all") {
  test::everywhere(check_passes_without_gradients);
}

}  // namespace cohort::pipeline
