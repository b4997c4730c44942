#include "launcher/rollout_simulation.h"

#include <catch2/catch.hpp>

#include "launcher/length_distribution.h"

namespace cohort::launcher {
namespace {

BatchLengths always(std::vector<int64_t> lengths) {
  return [lengths](int64_t) { return lengths; };
}

/// Two ranks of four places, three batches of eight answers of ten tokens: a batch is sampled in 10 s.
SimulationConfig two_ranks(int64_t max_staleness, double train_seconds) {
  SimulationConfig c;
  c.rollout_ranks = 2;
  c.places = 4;
  c.batches = 3;
  c.max_staleness = max_staleness;
  c.train_seconds_per_token = train_seconds / 80.0;
  return c;
}

TEST_CASE("answers of one length, by hand") {
  struct Row {
    int64_t max_staleness;
    double train, seconds, rollout_busy, trainer_busy, staleness;
  };
  const Row row = GENERATE(values<Row>({
      {0, 20.0, 90.0, 30.0 / 90.0, 60.0 / 90.0, 0.0},        // in turns: 3 x (10 + 20)
      {1, 20.0, 70.0, 30.0 / 70.0, 60.0 / 70.0, 2.0 / 3.0},  // the trainer never waits after the first 10
      {2, 20.0, 70.0, 30.0 / 70.0, 60.0 / 70.0, 1.0},        // staleness 0, 1, 2: no sooner
      {0, 4.0, 42.0, 30.0 / 42.0, 12.0 / 42.0, 0.0},         // 3 x (10 + 4)
      {1, 4.0, 34.0, 30.0 / 34.0, 12.0 / 34.0, 2.0 / 3.0},   // rollouts never wait; the last batch is trained after them
      {5, 4.0, 34.0, 30.0 / 34.0, 12.0 / 34.0, 2.0 / 3.0},
  }));
  CAPTURE(row.max_staleness, row.train);
  const SimulationResult r = simulate_rollouts(two_ranks(row.max_staleness, row.train), always(std::vector<int64_t>(8, 10)));
  CHECK(r.seconds == Approx(row.seconds));
  CHECK(r.rollout_busy == Approx(row.rollout_busy));
  CHECK(r.places_filled == Approx(row.rollout_busy));  // all places, or none
  CHECK(r.trainer_busy == Approx(row.trainer_busy));
  CHECK(r.mean_staleness == Approx(row.staleness));
  CHECK(r.tokens == 240);
  CHECK(r.seconds_per_batch() == Approx(row.seconds / 3.0));
}

TEST_CASE("publishing weights holds both up") {
  SimulationConfig c = two_ranks(0, 20.0);
  c.publish_seconds = 5.0;
  const SimulationResult r = simulate_rollouts(c, always(std::vector<int64_t>(8, 10)));
  CHECK(r.seconds == Approx(105.0));
  CHECK(r.trainer_busy == Approx(60.0 / 105.0));
}

TEST_CASE("a long answer keeps one rank busy and the others idle") {
  SimulationConfig c;
  c.rollout_ranks = 2;
  const SimulationResult r = simulate_rollouts(c, always({10, 2}));
  CHECK(r.seconds == Approx(10.0));
  CHECK(r.rollout_busy == Approx(12.0 / 20.0));
}

TEST_CASE("answers beyond the places wait; the freest rank is next") {
  SimulationConfig c;
  CHECK(simulate_rollouts(c, always({3, 4, 5})).seconds == Approx(12.0));
  c.rollout_ranks = 2;
  CHECK(simulate_rollouts(c, always({3, 4, 5})).seconds == Approx(8.0));  // 3 + 5 beside 4
}

TEST_CASE("a decode step takes longer with more answers in it") {
  SimulationConfig c;
  c.places = 2;
  c.step_seconds_per_answer = 0.5;
  const SimulationResult r = simulate_rollouts(c, always({10, 5}));
  CHECK(r.seconds == Approx(5 * 2.0 + 5 * 1.5));
  CHECK(r.places_filled == Approx((10.0 * 2.0 + 7.5) / (2.0 * 17.5)));
}

TEST_CASE("staleness only helps, and no answer is staler than allowed") {
  const LengthDistribution d{64.0, 512.0};
  double before = 1e300;
  for (const int64_t k : {0, 1, 2, 4}) {
    SimulationConfig c;
    c.rollout_ranks = 3;
    c.places = 7;
    c.batches = 12;
    c.max_staleness = k;
    c.train_seconds_per_token = 0.01;
    c.step_seconds_per_answer = 0.05;
    const SimulationResult r = simulate_rollouts(c, [&](int64_t b) { return draw_lengths(d, 50, 17, static_cast<uint64_t>(b)); });
    CAPTURE(k, r.seconds);
    CHECK(r.seconds <= before * (1.0 + 1e-9));
    CHECK(r.mean_staleness <= static_cast<double>(k));
    CHECK(r.rollout_busy <= 1.0);
    CHECK(r.trainer_busy <= 1.0);
    before = r.seconds;
  }
}

}  // namespace
}  // namespace cohort::launcher
