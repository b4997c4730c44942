#include "core/rl/advantage.h"

#include "core/base/error.h"
#include "core/rl/kl.h"
#include "tests/core/rl/rl_fixture.h"

using namespace cohort;
using namespace cohort::rl;
using cohort::test::integers;
using cohort::test::largest_difference;
using cohort::test::tensor;
using Values = std::vector<double>;

namespace {

const Values kRewards = {1, 0, 0, 0};
const std::vector<int64_t> kOneGroup = {5, 5, 5, 5};

}  // namespace

TEST_CASE("advantages of (1, 0, 0, 0) by hand", "[rl]") {
  const at::Tensor reward = tensor(kRewards), group = integers(kOneGroup);
  const auto close = [](const at::Tensor& a, const Values& b) { return largest_difference(a, tensor(b)) < 5e-4; };
  CHECK(close(group_normalised_advantage(reward, group, {"group", "sample", 1e-6}), {1.5, -0.5, -0.5, -0.5}));
  CHECK(close(group_normalised_advantage(reward, group, {"group", "population", 1e-6}), {1.7320508, -0.5773503, -0.5773503, -0.5773503}));
  CHECK(close(group_normalised_advantage(reward, group, {"none", "sample", 1e-6}), {0.75, -0.25, -0.25, -0.25}));
  CHECK(close(leave_one_out_advantage(reward, group), {1, -1.0 / 3, -1.0 / 3, -1.0 / 3}));
}

TEST_CASE("advantages equal those of verl and TRL", "[rl][golden]") {
  const auto golden = test::load_golden("advantage.json");
  const Packing packing = Packing::from_lengths(golden["lengths"].get<std::vector<int64_t>>());
  const at::Tensor group = integers(golden["group"].get<std::vector<int64_t>>());
  const at::Tensor kl = kl_estimate(tensor(golden["old"]), tensor(golden["ref"]), "k1");
  CHECK(golden["cases"].size() >= 15);
  for (const auto& item : golden["cases"]) {
    INFO(item["name"]);
    const AlgorithmConfig config = test::config_of(item["config"]);
    const at::Tensor advantage = compute_advantage(config, tensor(golden["reward"]), group, kl, packing);
    CHECK(largest_difference(advantage, tensor(item["tokens"])) < 1e-6);
  }
}

TEST_CASE("a group whose rewards are equal has no advantage at all", "[rl]") {
  // 0.1 three times: the mean of the sum is not 0.1 in floating point.
  const at::Tensor reward = tensor(Values{0.1, 0.1, 0.1, 1.0, 0.0}), group = integers({0, 0, 0, 1, 1});
  for (const std::string scope : {"group", "batch", "none"}) {
    const at::Tensor advantage = group_normalised_advantage(reward, group, {scope, "sample", 0.0});
    CHECK(at::equal(advantage.slice(0, 0, 3), at::zeros({3}, at::kDouble)));
    CHECK(advantage[3].item<double>() > 0.4);
  }
  CHECK(at::equal(leave_one_out_advantage(reward, group).slice(0, 0, 3), at::zeros({3}, at::kDouble)));
}

TEST_CASE("a group of one keeps its reward", "[rl]") {
  const at::Tensor reward = tensor(Values{0.7}), group = integers({3});
  CHECK(group_normalised_advantage(reward, group, {"group", "sample", 0.0}).item<double>() == 0.7);
  CHECK(leave_one_out_advantage(reward, group).item<double>() == 0.7);
}

TEST_CASE("groups need not lie together, and their order does not matter", "[rl]") {
  const at::Tensor together = group_normalised_advantage(tensor(Values{1, 0, 0.3, 4, 5, 9}), integers({0, 0, 0, 1, 1, 1}), {});
  const at::Tensor mixed = group_normalised_advantage(tensor(Values{4, 1, 5, 0, 0.3, 9}), integers({1, 0, 1, 0, 0, 1}), {});
  CHECK(at::equal(mixed, together.index_select(0, integers({3, 0, 4, 1, 2, 5}))));
}

TEST_CASE("returns and token rewards by hand", "[rl]") {
  const Packing packing = Packing::from_lengths({3, 0, 1});
  const at::Tensor kl = tensor(Values{1, 2, 3, 4});
  const at::Tensor reward = token_rewards(tensor(Values{1, 5, 2}), kl, 0.1, packing);
  CHECK(largest_difference(reward, tensor(Values{-0.1, -0.2, 0.7, 1.6})) < 1e-12);
  CHECK(largest_difference(discounted_returns(reward, 0.5, packing), tensor(Values{-0.025, 0.15, 0.7, 1.6})) < 1e-12);
  CHECK(at::equal(token_rewards(tensor(Values{1, 5, 2}), {}, 0.1, packing), tensor(Values{0, 0, 1, 2})));
}

TEST_CASE("whitening gives mean 0 and standard deviation 1", "[rl]") {
  const at::Tensor white = whiten(tensor(Values{1, 2, 3, 10, -4}));
  CHECK(white.mean().item<double>() == Approx(0.0).margin(1e-12));
  CHECK(white.std().item<double>() == Approx(1.0).epsilon(1e-8));
  CHECK(at::equal(whiten(tensor(Values{3})), at::zeros({1}, at::kDouble)));
}

TEST_CASE("compute_advantage refuses what it cannot do", "[rl]") {
  const Packing packing = test::one_answer(2);
  AlgorithmConfig config;
  config.use_kl_in_reward = true;
  CHECK_THROWS_AS(compute_advantage(config, tensor(Values{1}), integers({0}), {}, packing), Fault);
  config = {};
  config.adv_estimator = "gae";
  CHECK_THROWS_AS(compute_advantage(config, tensor(Values{1}), integers({0}), {}, packing), Fault);
  CHECK_THROWS_AS(leave_one_out_advantage(tensor(Values{1, 2}), integers({0})), Fault);
}
