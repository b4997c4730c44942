#include "core/pipeline/rl_batch.h"

#include <catch2/catch.hpp>

#include "core/base/error.h"

namespace cohort::pipeline {
namespace {

records::Group group_of(uint64_t id, const std::vector<uint64_t>& policy_steps) {
  records::Group g;
  g.set_id(id);
  for (uint64_t step : policy_steps) g.add_samples()->set_policy_step(step);
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
  for (uint64_t id : {4U, 5U, 6U, 7U}) {
    records::Group& g = *batch.add_asked() = group_of(id, {3, 3});
    for (auto& s : *g.mutable_samples()) s.set_policy_version(30);
  }
  for (uint64_t id : {4U, 5U, 6U}) batch.add_chosen(id);
  auto good = batch;
  CHECK(reject_other_weights(good, {30, 3}) == 0);
  CHECK(good.chosen_size() == 3);
  batch.mutable_asked(1)->mutable_samples(1)->set_policy_version(31);  // never published
  batch.mutable_asked(2)->mutable_samples(0)->set_policy_step(2);      // published earlier
  batch.mutable_asked(3)->mutable_samples(0)->set_policy_step(9);      // was not chosen anyway
  CHECK(reject_other_weights(batch, {30, 3}) == 2);
  CHECK(std::vector<uint64_t>(batch.chosen().begin(), batch.chosen().end()) == std::vector<uint64_t>{4});
}

TEST_CASE("the age of samples is counted in steps") {
  Metrics m;
  add_staleness_metrics({group_of(1, {7, 8}), group_of(2, {5, 8})}, 8, 3, m);
  CHECK(*m.find("staleness/mean") == 1.0);
  CHECK(*m.find("staleness/max") == 3.0);
  CHECK(*m.find("staleness/dropped_groups") == 3.0);
}

}  // namespace cohort::pipeline
