#include "core/eval/pass_at_k.h"

#include <catch2/catch.hpp>

#include "core/base/error.h"

namespace cohort::eval {
namespace {

/// By going through all subsets of k of the n samples, of which the first c are correct.
double by_counting(int n, int c, int k) {
  int all = 0;
  int good = 0;
  for (unsigned subset = 0; subset < (1u << n); ++subset) {
    if (__builtin_popcount(subset) != k) continue;
    ++all;
    if ((subset & ((1u << c) - 1)) != 0) ++good;
  }
  return static_cast<double>(good) / all;
}

TEST_CASE("pass@k is the chance that a subset of k samples holds a correct one") {
  for (int n = 1; n <= 8; ++n) {
    for (int c = 0; c <= n; ++c) {
      for (int k = 1; k <= n; ++k) {
        CAPTURE(n, c, k);
        CHECK(pass_at_k(n, c, k) == Approx(by_counting(n, c, k)).margin(1e-12));
      }
    }
  }
  CHECK(pass_at_k(200, 10, 1) == Approx(0.05));
  // 1 - C(9900, 100) / C(10000, 100): the binomials themselves are far beyond a double.
  CHECK(pass_at_k(10'000, 100, 100) == Approx(0.6357).epsilon(1e-3));
}

TEST_CASE("impossible counts are refused") {
  CHECK_THROWS_AS(pass_at_k(4, 5, 1), Fault);
  CHECK_THROWS_AS(pass_at_k(4, -1, 1), Fault);
  CHECK_THROWS_AS(pass_at_k(4, 2, 0), Fault);
  CHECK_THROWS_AS(pass_at_k(4, 2, 5), Fault);
}

TEST_CASE("the most frequent answer wins the vote, the earlier one on a tie, and no answer is no vote") {
  CHECK(majority_vote({"7", "8", "8", "7", "8"}) == std::optional<size_t>(1));
  CHECK(majority_vote({"7", "8"}) == std::optional<size_t>(0));
  CHECK(majority_vote({"", "8", "7", "7", "8"}) == std::optional<size_t>(1));
  CHECK(majority_vote({"", "", "", "9"}) == std::optional<size_t>(3));
  CHECK(majority_vote({"", ""}) == std::nullopt);
  CHECK(majority_vote({}) == std::nullopt);
}

TEST_CASE("the bootstrap's interval has the width of the normal approximation and repeats itself") {
  std::vector<double> values(400, 0.0);
  for (size_t i = 0; i < 100; ++i) values[i] = 1.0;
  const Estimate estimate = bootstrap_mean(values, 17);
  CHECK(estimate.mean == 0.25);
  const double half = 1.96 * std::sqrt(0.25 * 0.75 / 400);
  CHECK(estimate.low == Approx(0.25 - half).margin(0.01));
  CHECK(estimate.high == Approx(0.25 + half).margin(0.01));
  const Estimate again = bootstrap_mean(values, 17);
  CHECK(again.low == estimate.low);
  CHECK(again.high == estimate.high);
  CHECK(bootstrap_mean(values, 17, 0.5).high < estimate.high);
}

TEST_CASE("equal values leave no doubt") {
  const Estimate estimate = bootstrap_mean({0.5, 0.5, 0.5}, 1);
  CHECK(estimate.mean == 0.5);
  CHECK(estimate.low == 0.5);
  CHECK(estimate.high == 0.5);
  CHECK_THROWS_AS(bootstrap_mean({}, 1), Fault);
}

}  // namespace
}  // namespace cohort::eval
