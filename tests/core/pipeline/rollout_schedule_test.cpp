#include "core/pipeline/rollout_schedule.h"

#include <catch2/catch.hpp>
#include <map>
#include <vector>

namespace cohort::pipeline {
namespace {

/// Runs steps [first, last) as the RL stage does; `sampled` maps a batch to the step whose weights sampled it.
void run(RolloutSchedule& schedule, int64_t first, int64_t last, std::map<int64_t, int64_t>& sampled) {
  for (int64_t step = first; step < last; ++step) {
    while (schedule.needed_before(step)) REQUIRE(sampled.emplace(schedule.take_next(), step).second);
    REQUIRE(sampled.count(step));  // it is trained now
    if (schedule.alongside(step)) REQUIRE(sampled.emplace(schedule.take_next(), step).second);
  }
}

}  // namespace

TEST_CASE("a step trains on answers of exactly the weights that it should") {
  for (int64_t steps : {1, 2, 3, 10})
    for (int64_t k : {0, 1, 2, 5}) {
      CAPTURE(steps, k);
      std::map<int64_t, int64_t> whole;
      RolloutSchedule schedule(steps, k, 0, 0);
      run(schedule, 0, steps, whole);
      CHECK(static_cast<int64_t>(whole.size()) == steps);
      for (const auto& [batch, weights] : whole) CHECK(weights == std::max<int64_t>(0, batch - k));
      for (int64_t stop = 1; stop < steps; ++stop) {  // resumed after `stop` steps, with the batches that were there
        std::map<int64_t, int64_t> resumed;
        RolloutSchedule before(steps, k, 0, 0);
        run(before, 0, stop, resumed);
        RolloutSchedule after(steps, k, stop, static_cast<int64_t>(resumed.size()) - stop);
        run(after, stop, steps, resumed);
        CHECK(resumed == whole);
      }
    }
}

}  // namespace cohort::pipeline
