#include "core/pipeline/rl_batch.h"

#include <catch2/catch.hpp>

#include "core/base/error.h"

namespace cohort::pipeline {
namespace {

/// As many tokens of these weights, in a summary.
void add_run(const records::Group& g, records::Sample& s, const PolicyAge& age, uint32_t tokens) {
  generate::begin_run(g, s, age);
  records::VersionRun& run = *s.mutable_runs(s.runs_size() - 1);
  run.set_tokens(run.tokens() + tokens), s.set_response_length(s.response_length() + tokens);
}

records::Group group_of(uint64_t id, const std::vector<uint64_t>& policy_steps) {
  records::Group g;
  g.set_id(id);
  for (uint64_t step : policy_steps) {
    records::Sample& s = *g.add_samples();
    add_run(g, s, {30, step}, 1);
  }
  return g;
}

}  // namespace

TEST_CASE("groups with a sample of weights that are too old are dropped and counted") {
  const std::vector<records::Group> all = {group_of(1, {7, 7}), group_of(2, {6, 7}), group_of(3, {5, 7}), group_of(4, {4, 4})};
  for (const auto& [allowed, kept] : {std::pair(0, 0), std::pair(1, 1), std::pair(2, 2), std::pair(3, 3), std::pair(4, 4)}) {
    auto groups = all;
    CHECK(drop_stale(groups, 8, static_cast<uint64_t>(allowed)) == 4 - kept);
    CHECK(groups.size() == static_cast<size_t>(kept));
    for (size_t i = 0; i < groups.size(); ++i) CHECK(groups[i].id() == all[i].id());
  }
  auto groups = all;
  CHECK_THROWS_WITH(drop_stale(groups, 6, 9), Catch::Contains("step 6: group 1 was sampled by weights of step 7"));
}

TEST_CASE("groups of other weights than the published ones are not chosen, and counted") {
  records::RolloutBatch batch;
  for (uint64_t id : {4U, 5U, 6U, 7U}) *batch.add_asked() = group_of(id, {3, 3});
  for (uint64_t id : {4U, 5U, 6U}) batch.add_chosen(id);
  auto good = batch;
  CHECK(reject_other_weights(good, {{30, 3}}) == 0);
  CHECK(good.chosen_size() == 3);
  const auto relabel = [&](int group, int sample, uint64_t version, uint64_t step) {
    records::Sample& s = *batch.mutable_asked(group)->mutable_samples(sample);
    s.set_policy_version(version), s.set_policy_step(step);
    s.mutable_runs(0)->set_policy_version(version), s.mutable_runs(0)->set_policy_step(step);
  };
  relabel(1, 1, 31, 3);  // never published
  relabel(2, 0, 30, 2);  // published earlier
  relabel(3, 0, 30, 9);  // was not chosen anyway
  CHECK(reject_other_weights(batch, {{30, 3}}) == 2);
  CHECK(std::vector<uint64_t>(batch.chosen().begin(), batch.chosen().end()) == std::vector<uint64_t>{4});
}

TEST_CASE("the age of samples is counted in steps") {
  Metrics m;
  add_staleness_metrics({group_of(1, {7, 8}), group_of(2, {5, 8})}, 8, 3, m);
  CHECK(*m.find("staleness/mean") == 1.0);
  CHECK(*m.find("staleness/max") == 3.0);
  CHECK(*m.find("staleness/dropped_groups") == 3.0);
}

TEST_CASE("the age of an answer of several versions is that of its tokens; the oldest one decides whether it is dropped") {
  records::Group g = group_of(1, {5});
  add_run(g, *g.mutable_samples(0), {33, 7}, 3);
  CHECK(g.samples(0).runs_size() == 2);
  CHECK(g.samples(0).policy_version() == 30);
  CHECK(g.samples(0).policy_step() == 5);
  Metrics m;
  add_staleness_metrics({g}, 8, 0, m);
  CHECK(*m.find("staleness/mean") == (3.0 + 3 * 1.0) / 4.0);
  CHECK(*m.find("staleness/max") == 3.0);
  for (const uint64_t allowed : {2U, 3U}) {
    std::vector<records::Group> groups = {g};
    CHECK(drop_stale(groups, 8, allowed) == (allowed == 2 ? 1 : 0));
  }
  records::RolloutBatch batch;
  *batch.add_asked() = g;
  batch.add_chosen(1);
  auto unknown = batch;
  CHECK(reject_other_weights(batch, {{30, 5}, {33, 7}}) == 0);
  CHECK(reject_other_weights(unknown, {{33, 7}}) == 1);
  batch.set_carried_groups(4), batch.set_new_questions(6);
  add_partial_metrics(batch, {g, group_of(2, {7, 7, 7})}, m);
  CHECK(*m.find("rollout/partial_fraction") == 0.25);
  CHECK(*m.find("rollout/carried_groups") == 4.0);
  CHECK(*m.find("rollout/new_questions") == 6.0);
}

}  // namespace cohort::pipeline
