#include "core/rl/algorithm_config.h"

#include "core/rl/aggregation.h"
#include "core/rl/kl.h"
#include "core/rl/policy_loss.h"
#include "core/rl/rollout_correction.h"
#include "tests/core/rl/rl_fixture.h"

using namespace cohort;
using namespace cohort::rl;
using cohort::test::json;

namespace {

std::vector<std::string> broken_rules(const json& values) {
  AlgorithmConfig config;
  test::ConfigFromJson reader(values);
  config.visit(reader);
  CHECK(reader.keys_used() == values.size());
  return reader.broken();
}

}  // namespace

TEST_CASE("the defaults and the published settings keep every rule", "[rl]") {
  CHECK(broken_rules(json::object()).empty());
  CHECK(broken_rules({{"clip_ratio_low", 10.0}, {"clip_ratio_high", 10.0}, {"use_kl_loss", true}, {"ref_update_interval", 400}}).empty());
  CHECK(broken_rules({{"loss_mode", "gspo"}, {"loss_agg_mode", "seq-mean-token-mean"}, {"clip_ratio_low", 3e-4}}).empty());
  CHECK(broken_rules({{"rollout_rs", "seq_mean_k1"}, {"rollout_rs_threshold", 1.001}, {"rollout_rs_threshold_lower", 0.999}}).empty());
  CHECK(broken_rules({{"bypass_mode", true}, {"rollout_is", "none"}}).empty());
}

TEST_CASE("each rule can be broken", "[rl]") {
  const std::vector<json> bad = {
      {{"clip_ratio_c", 0.5}},
      {{"clip_ratio_delta", 1.1}},
      {{"cispo_ratio_min", 6.0}},
      {{"loss_mode", "gspo"}},
      {{"rollout_is_threshold_lower", 3.0}},
      {{"rollout_rs", "token_k3"}},
      {{"rollout_rs", "token_k1"}, {"rollout_rs_threshold", 0.5}},
      {{"rollout_rs_threshold_lower", 3.0}},
      {{"bypass_mode", true}},
      {{"bypass_mode", true}, {"rollout_is", "none"}, {"rollout_rs", "token_k3"}, {"rollout_rs_threshold", 1.0}}};
  for (const json& values : bad) {
    INFO(values);
    CHECK(broken_rules(values).size() == 1);
  }
}

TEST_CASE("the config offers exactly what the functions know", "[rl]") {
  AlgorithmConfig config;
  test::ConfigFromJson reader(json::object());
  config.visit(reader);
  CHECK(reader.choices().at("loss_agg_mode") == aggregation_modes());
  CHECK(reader.choices().at("loss_mode") == policy_loss_modes());
  CHECK(reader.choices().at("kl_loss_type") == kl_types());
  CHECK(reader.choices().at("rollout_rs") == rejection_statistics());
}
