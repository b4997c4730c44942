#include "core/rl/policy_loss.h"

#include <cmath>

#include "core/base/error.h"
#include "tests/core/rl/rl_fixture.h"

using namespace cohort;
using namespace cohort::rl;
using cohort::test::tensor;
using Values = std::vector<double>;

namespace {

struct Point {
  double loss, slope;  // slope: d loss / d logprob
};

/// The loss of one token with old log-probability 0.
Point at_ratio(double ratio, double advantage, const PolicyLossOptions& options) {
  const at::Tensor logprob = tensor(Values{std::log(ratio)}).requires_grad_(true);
  const PolicyLoss result = policy_loss(logprob, at::zeros({1}, at::kDouble), tensor(Values{advantage}), test::one_answer(1), options);
  return {result.loss_N.item<double>(), test::gradient(result.loss_N.sum(), logprob).item<double>()};
}

void check(const Point& point, double loss, double slope) {
  CHECK(point.loss == Approx(loss).epsilon(1e-12));
  CHECK(point.slope == Approx(slope).epsilon(1e-12).margin(1e-12));
}

}  // namespace

TEST_CASE("the clip by hand", "[rl]") {
  const PolicyLossOptions options;  // 0.2, 0.28, dual clip 3
  check(at_ratio(1.5, 1, options), -1.28, 0);
  check(at_ratio(0.5, -1, options), 0.8, 0);
  check(at_ratio(1.5, -1, options), 1.5, 1.5);
  check(at_ratio(0.5, 1, options), -0.5, -0.5);
  check(at_ratio(1.0, 2, options), -2, -2);
}

TEST_CASE("the dual clip acts from ratio c on and can be switched off", "[rl]") {
  PolicyLossOptions options;
  check(at_ratio(2.9, -1, options), 2.9, 2.9);
  check(at_ratio(3.5, -1, options), 3.0, 0);
  options.clip_ratio_c = 0;
  check(at_ratio(3.5, -1, options), 3.5, 3.5);
}

TEST_CASE("R1's clip of 10 lets all but ratios above 11 through", "[rl]") {
  PolicyLossOptions options;
  options.clip_ratio_low = options.clip_ratio_high = 10;
  check(at_ratio(10.5, 1, options), -10.5, -10.5);
  check(at_ratio(11.5, 1, options), -11, 0);
  check(at_ratio(0.01, -1, options), 0.01, 0.01);
}

TEST_CASE("the two-sided clip caps the ratio where the advantage is negative", "[rl]") {
  PolicyLossOptions options;
  options.clip_ratio_c = 0;
  options.clip_ratio_delta = 4;
  check(at_ratio(3.9, -1, options), 3.9, 3.9);
  check(at_ratio(6, -1, options), 4, 0);
  check(at_ratio(6, 1, options), -1.28, 0);
}

TEST_CASE("cispo keeps a gradient where PPO has none", "[rl]") {
  PolicyLossOptions options;
  options.mode = "cispo";
  options.cispo_ratio_max = 1.28;
  check(at_ratio(1.5, 1, options), -1.28 * std::log(1.5), -1.28);
  check(at_ratio(0.5, 1, options), -0.5 * std::log(0.5), -0.5);
}

TEST_CASE("sapo is REINFORCE at ratio one and soft away from it", "[rl]") {
  PolicyLossOptions options;
  options.mode = "sapo";
  check(at_ratio(1.0, 1, options), -2, -1);  // 4/τ · σ(0), slope 4/τ · τ/4
  check(at_ratio(1.0, -1, options), 2 / 1.05, 1);
  CHECK(std::abs(at_ratio(4.0, 1, options).slope) < 1.0);
}

TEST_CASE("gspo gives every token of an answer the same ratio", "[rl]") {
  PolicyLossOptions options;
  options.mode = "gspo";
  const Packing packing = Packing::from_lengths({2, 1});
  const at::Tensor logprob = tensor(Values{0.3, -0.1, 0.05}).requires_grad_(true);
  const at::Tensor advantage = tensor(Values{1, 1, 1});
  const PolicyLoss result = policy_loss(logprob, at::zeros({3}, at::kDouble), advantage, packing, options);
  const at::Tensor expected = -tensor(Values{std::exp(0.1), std::exp(0.1), std::exp(0.05)});
  CHECK(test::largest_difference(result.loss_N.detach(), expected) < 1e-12);
  CHECK(test::largest_difference(test::gradient(result.loss_N.sum(), logprob), expected) < 1e-12);
}

TEST_CASE("on-policy, every loss has the gradient of REINFORCE", "[rl]") {
  const at::Tensor old = tensor(Values{-0.4, -1.3, -2.2});
  const at::Tensor advantage = tensor(Values{1.5, -0.5, 0.0});
  for (const std::string& mode : policy_loss_modes()) {
    INFO(mode);
    PolicyLossOptions options;
    options.mode = mode;
    const at::Tensor logprob = old.clone().requires_grad_(true);
    const PolicyLoss result = policy_loss(logprob, old, advantage, Packing::from_lengths({2, 1}), options);
    CHECK(test::largest_difference(test::gradient(result.loss_N.sum(), logprob), -advantage) < 1e-12);
    CHECK(result.clipped_N.sum().item<int64_t>() == 0);
    if (mode == "vanilla" || mode == "gspo") CHECK(at::equal(result.loss_N.detach(), -advantage));
    CHECK(at::equal(result.log_ratio_N, at::zeros({3}, at::kDouble)));
  }
}

TEST_CASE("an unknown loss mode is refused", "[rl]") {
  PolicyLossOptions options;
  options.mode = "ppo";
  CHECK_THROWS_AS(at_ratio(1, 1, options), Fault);
}
