#include "core/rl/rollout_correction.h"

#include <cmath>

#include "core/base/error.h"
#include "tests/core/rl/rl_fixture.h"

using namespace cohort;
using namespace cohort::rl;
using cohort::test::largest_difference;
using cohort::test::tensor;
using Values = std::vector<double>;

namespace {

at::Tensor logs(const Values& ratios) { return tensor(ratios).log(); }

}  // namespace

TEST_CASE("importance weights by hand", "[rl]") {
  const Packing packing = Packing::from_lengths({2, 1});
  const at::Tensor old = logs({3, 0.5, 0.25}), rollout = at::zeros({3}, at::kDouble);
  const auto weights = [&](const char* level, const char* outside, double low, double high) {
    RolloutCorrectionConfig config;
    config.rollout_is = level;
    config.rollout_is_outside = outside;
    config.rollout_is_threshold_lower = low;
    config.rollout_is_threshold = high;
    return rollout_weights(old, rollout, packing, config);
  };
  const auto close = [](const at::Tensor& a, const Values& b) { return largest_difference(a, tensor(b)) < 1e-12; };
  CHECK(close(weights("none", "truncate", 0, 2), {1, 1, 1}));
  CHECK(close(weights("token", "truncate", 0, 2), {2, 0.5, 0.25}));
  CHECK(close(weights("token", "truncate", 0.4, 2), {2, 0.5, 0.4}));
  CHECK(close(weights("token", "mask", 0.4, 2), {0, 0.5, 0}));
  CHECK(close(weights("sequence", "truncate", 0, 1.2), {1.2, 1.2, 0.25}));
  CHECK(close(weights("sequence", "mask", 0, 1.2), {0, 0, 0.25}));
  CHECK_THROWS_AS(weights("batch", "mask", 0, 1), Fault);
  CHECK_THROWS_AS(weights("token", "drop", 0, 1), Fault);
}

TEST_CASE("weights, rejections and metrics equal verl's", "[rl][golden]") {
  const auto golden = test::load_golden("rollout_correction.json");
  const Packing packing = Packing::from_lengths(golden["lengths"].get<std::vector<int64_t>>());
  const at::Tensor old = tensor(golden["old"]), rollout = tensor(golden["rollout"]);
  for (const auto& item : golden["weights"]) {
    INFO(item["name"]);
    const AlgorithmConfig config = test::config_of(item["config"]);
    CHECK(largest_difference(rollout_weights(old, rollout, packing, config.rollout_correction), tensor(item["tokens"])) < 1e-9);
  }
  for (const auto& item : golden["rejections"]) {
    INFO(item["name"]);
    const AlgorithmConfig config = test::config_of(item["config"]);
    CHECK(at::equal(rejection_keep(old, rollout, packing, config.rollout_correction), tensor(item["tokens"])));
  }
  const std::vector<std::pair<std::string, double>> measured = rollout_mismatch(old, rollout, packing).metrics();
  const std::map<std::string, double> metrics(measured.begin(), measured.end());
  for (const auto& [name, value] : golden["metrics"].items()) {
    INFO(name);
    CHECK(metrics.at("rollout_corr/" + name) == Approx(value.get<double>()).epsilon(1e-6));
  }
}

TEST_CASE("every rejection statistic has a reference", "[rl][golden]") {
  const auto golden = test::load_golden("rollout_correction.json");
  for (const std::string& name : rejection_statistics()) {
    const auto& cases = golden["rejections"];
    const auto uses = [&](const test::json& item) { return item["config"]["rollout_rs"] == name; };
    CHECK((name == "none" || std::any_of(cases.begin(), cases.end(), uses)));
  }
}

TEST_CASE("the k1 bounds are those of the ratio old / rollout", "[rl]") {
  RolloutCorrectionConfig config;
  config.rollout_rs = "token_k1";
  config.rollout_rs_threshold = 3;
  config.rollout_rs_threshold_lower = 0.9;
  const at::Tensor old = logs({2.9, 3.1, 0.95, 0.5}), rollout = at::zeros({4}, at::kDouble);
  CHECK(at::equal(rejection_keep(old, rollout, test::one_answer(4), config), tensor(Values{1, 0, 1, 0})));
  config.rollout_rs_threshold_lower = 0;  // 1/3
  CHECK(at::equal(rejection_keep(old, rollout, test::one_answer(4), config), tensor(Values{1, 0, 1, 1})));
  config.rollout_rs = "token_k9";
  CHECK_THROWS_AS(rejection_keep(old, rollout, test::one_answer(4), config), Fault);
}

TEST_CASE("the off-policy sequence mask drops only stale answers with negative advantage", "[rl]") {
  const Packing packing = Packing::from_lengths({2, 2, 1});
  const at::Tensor logprob = tensor(Values{-1.0, -1.0, -1.0, -1.0, -1.0});
  const at::Tensor rollout = tensor(Values{-0.9, -0.5, -0.9, -0.5, -1.0});  // means 0.3, 0.3, 0
  const at::Tensor advantage = tensor(Values{-1, -1, 1, 1, -1});
  CHECK(at::equal(off_policy_sequence_keep(logprob, rollout, advantage, packing, 0.2), tensor(Values{0, 0, 1, 1, 1})));
  CHECK(at::equal(off_policy_sequence_keep(logprob, rollout, advantage, packing, 0.31), at::ones({5}, at::kDouble)));
}

TEST_CASE("equal policies show no mismatch", "[rl]") {
  const Packing packing = Packing::from_lengths({2, 0, 1});
  const at::Tensor logprob = tensor(Values{-0.3, -2, -1}, at::kFloat);
  RolloutMismatch sum = rollout_mismatch(logprob, logprob, packing);
  sum.add(rollout_mismatch(at::zeros({0}, at::kFloat), at::zeros({0}, at::kFloat), Packing::from_lengths({0})));
  CHECK(sum.sequences == 2);
  for (const auto& [name, value] : sum.metrics()) {
    INFO(name);
    CHECK(value == (name == "rollout_corr/ppl_ratio" ? 1.0 : 0.0));
  }
  CHECK(RolloutMismatch{}.metrics().empty());
}

TEST_CASE("mismatch sums add up over micro-batches", "[rl]") {
  const at::Tensor old = tensor(Values{-1, -2, -0.5, -0.7}), rollout = tensor(Values{-1.1, -1.8, -0.5, -1.7});
  const RolloutMismatch whole = rollout_mismatch(old, rollout, Packing::from_lengths({2, 2}));
  RolloutMismatch parts = rollout_mismatch(old.slice(0, 0, 2), rollout.slice(0, 0, 2), test::one_answer(2));
  parts.add(rollout_mismatch(old.slice(0, 2, 4), rollout.slice(0, 2, 4), test::one_answer(2)));
  const auto a = whole.metrics(), b = parts.metrics();
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) CHECK(a[i].second == Approx(b[i].second).epsilon(1e-12));
  CHECK(whole.logprob_abs_diff_max == Approx(1.0));
}
