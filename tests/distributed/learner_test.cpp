// Optimizer steps on ranks that have a slice of the optimizer each (ZeRO-1), that share the experts, that recompute: as one process with
// all.
#include "core/pipeline/learner.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "core/model/logprobs.h"
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

/// What a member has after three steps.
struct Outcome {
  at::Tensor values;
  std::vector<double> norms;
  std::vector<bool> skipped;
};

/// Three steps, in the second of which the gradient of one number, the `spoiled`-th of the parameters, is not finite.
Outcome train(Team& team, bool sharded, bool recompute, int64_t spoiled) {
  model::CausalLM model(shape(), 5);
  model.set_recompute(recompute);
  const int64_t count = model.parameters().size();
  train::OptimConfig config;
  config.clip_grad = 0.5;
  train::Optimizer optimizer(model.parameters(), config, 3, sharded ? team.slice(count) : std::pair<int64_t, int64_t>(0, count));
  const int64_t held = sharded ? (count + team.size() - 1) / team.size() : count;
  expect(optimizer.first_moment().numel() <= held && optimizer.second_moment().numel() <= held, "moments of the slice only");
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
    outcome.norms.push_back(result.optimizer.grad_norm);
    outcome.skipped.push_back(result.optimizer.skipped);
  }
  expect(optimizer.steps() == 2, "two steps that count");
  outcome.values = model.parameters().values();
  return outcome;
}

struct Way {
  int64_t expert_parallel;
  bool sharded, recompute;
};

std::vector<Way> ways(int ranks) {
  std::vector<Way> all = {{1, false, false}, {1, true, false}};
  if (ranks > 1) all.insert(all.end(), {{2, false, false}, {2, true, true}});
  if (ranks > 2) all.insert(all.end(), {{4, true, false}, {4, false, true}});
  return all;
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && std::memcmp(a.data_ptr(), b.data_ptr(), a.nbytes()) == 0;
}

void check_against_solo(comm::Communicator world) {
  const int64_t last = model::CausalLM(shape(), 5).parameters().size() - 1;
  for (int64_t spoiled : {int64_t{0}, last}) {  // in the slice of the first and of the last rank
    SoloTeam alone;
    const Outcome wanted = train(alone, false, false, spoiled);
    expect(!wanted.skipped[0] && wanted.skipped[1] && !wanted.skipped[2], "a skipped step between two");
    expect(wanted.norms[0] > 0.5, "a gradient that is clipped");
    for (const Way& way : ways(world.size())) {
      roles::RankTeam team(world, 0, way.expert_parallel);
      const Outcome got = train(team, way.sharded, way.recompute, spoiled);
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

}  // namespace cohort::pipeline
