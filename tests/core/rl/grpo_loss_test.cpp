#include "core/rl/grpo_loss.h"

#include "core/base/error.h"
#include "core/rl/policy_loss.h"
#include "tests/core/rl/rl_fixture.h"

using namespace cohort;
using namespace cohort::rl;
using cohort::test::json;
using cohort::test::tensor;

namespace {

AggregationScale scale_of(const LossInputs& inputs, double max_response_length) {
  AggregationScale scale;
  scale.add(inputs.keep_N.defined() ? inputs.keep_N : at::ones_like(inputs.old_logprob_N), inputs.packing);
  scale.max_response_length = max_response_length;
  return scale;
}

LossInputs golden_inputs(const json& golden, bool tame, at::ScalarType dtype) {
  LossInputs inputs;
  inputs.packing = Packing::from_lengths(golden["lengths"].get<std::vector<int64_t>>());
  inputs.logprob_N = tensor(golden[tame ? "tame_logprob" : "logprob"], dtype).requires_grad_(true);
  inputs.old_logprob_N = tensor(golden["old"], dtype);
  inputs.rollout_logprob_N = tensor(golden["rollout"], dtype);
  inputs.ref_logprob_N = tensor(golden[tame ? "tame_ref" : "ref"], dtype);
  inputs.advantage_N = inputs.packing.spread(tensor(golden["advantage"]));
  return inputs;
}

/// Forty answers of 0 to 70 tokens, off-policy enough for every clip and mask to act.
LossInputs random_inputs(uint32_t seed) {
  std::mt19937 engine(seed);
  std::vector<int64_t> lengths;
  for (int i = 0; i < 40; ++i) lengths.push_back(static_cast<int64_t>(engine() % 71));
  LossInputs inputs;
  inputs.packing = Packing::from_lengths(lengths);
  const auto noise = [&](double scale) {
    std::normal_distribution<double> normal(0.0, scale);
    std::vector<double> values(static_cast<size_t>(inputs.packing.tokens()));
    for (double& v : values) v = normal(engine);
    return tensor(values, at::kFloat);
  };
  inputs.old_logprob_N = -(noise(1.0).abs() + 0.1);
  inputs.logprob_N = (inputs.old_logprob_N + noise(0.4)).requires_grad_(true);
  inputs.rollout_logprob_N = inputs.old_logprob_N + noise(0.2);
  inputs.ref_logprob_N = inputs.old_logprob_N + noise(0.3);
  inputs.entropy_N = noise(1.0).abs();
  std::vector<double> advantage;
  for (size_t i = 0; i < lengths.size(); ++i) advantage.push_back(std::normal_distribution<double>(0.0, 1.0)(engine));
  inputs.advantage_N = inputs.packing.spread(tensor(advantage));
  inputs.keep_N = (noise(1.0) < 1.5).to(at::kFloat);
  return inputs;
}

/// Answers first … last−1 as a micro-batch of its own, cut off from the graph of `all`.
LossInputs slice(const LossInputs& all, int64_t first, int64_t last) {
  const at::Tensor mine = (all.packing.sequence_N >= first).logical_and(all.packing.sequence_N < last);
  const auto cut = [&](const at::Tensor& values) { return values.detach().masked_select(mine); };
  LossInputs out;
  out.packing = {all.packing.sequence_N.masked_select(mine) - first, last - first};
  out.logprob_N = cut(all.logprob_N).requires_grad_(true);
  out.old_logprob_N = cut(all.old_logprob_N);
  out.rollout_logprob_N = cut(all.rollout_logprob_N);
  out.ref_logprob_N = cut(all.ref_logprob_N);
  out.entropy_N = cut(all.entropy_N).requires_grad_(true);
  out.advantage_N = cut(all.advantage_N);
  out.keep_N = cut(all.keep_N);
  return out;
}

std::vector<AlgorithmConfig> configs_to_split() {
  std::vector<AlgorithmConfig> configs;
  for (const std::string& mode : policy_loss_modes()) {
    for (const std::string& agg : aggregation_modes()) {
      if (agg == "bnpo") continue;
      AlgorithmConfig config;
      config.loss_mode = mode;
      config.loss_agg_mode = agg;
      config.entropy_coeff = 0.01;
      config.use_kl_loss = true;
      config.kl_loss_off_policy = true;
      config.kl_loss_type = agg == "token-mean" ? "k3" : "k3+";
      config.rollout_correction.rollout_is = agg == "dr_grpo" ? "sequence" : "token";
      config.rollout_correction.off_policy_mask_threshold = 0.05;
      configs.push_back(config);
    }
  }
  return configs;
}

}  // namespace

TEST_CASE("losses and gradients equal those of verl and TRL", "[rl][golden]") {
  const json golden = test::load_golden("loss.json");
  CHECK(golden["cases"].size() == 29);
  for (const auto dtype : {at::kDouble, at::kFloat}) {
    for (const auto& item : golden["cases"]) {
      INFO(item["name"] << (dtype == at::kFloat ? " float" : " double"));
      const AlgorithmConfig config = test::config_of(item["config"]);
      const LossInputs inputs = golden_inputs(golden, item.value("tame", false), dtype);
      const LossResult result = grpo_loss(config, inputs, scale_of(inputs, golden["max_response_length"].get<double>()));
      CHECK(std::abs(result.loss.item<double>() - item["value"].get<double>()) < 1e-6);
      CHECK(test::largest_difference(test::gradient(result.loss, inputs.logprob_N), tensor(item["grad"])) < 1e-6);
      if (!item.contains("pg_clipfrac")) continue;
      const auto values = result.metrics.metrics();
      const std::map<std::string, double> metrics(values.begin(), values.end());
      CHECK(metrics.at("actor/pg_clipfrac") == Approx(item["pg_clipfrac"].get<double>()).epsilon(1e-6));
      CHECK(metrics.at("actor/pg_clipfrac_lower") == Approx(item["pg_clipfrac_lower"].get<double>()).epsilon(1e-6));
      // verl does not clamp the log-ratio it reports for gspo.
      if (config.loss_mode != "gspo") CHECK(metrics.at("actor/ppo_kl") == Approx(item["ppo_kl"].get<double>()).epsilon(1e-6));
    }
  }
}

TEST_CASE("any split into micro-batches gives the same gradient, bit for bit", "[rl]") {
  std::mt19937 engine(11);
  for (uint32_t seed = 0; seed < 3; ++seed) {
    const LossInputs all = random_inputs(seed);
    const AggregationScale scale = scale_of(all, 70);
    for (const AlgorithmConfig& config : configs_to_split()) {
      INFO(config.loss_mode << " " << config.loss_agg_mode);
      all.entropy_N.requires_grad_(true);
      const LossResult whole = grpo_loss(config, all, scale);
      const at::Tensor grad = test::gradient(whole.loss, all.logprob_N);
      std::vector<at::Tensor> parts;
      double loss = 0;
      LossMetrics metrics;
      for (int64_t first = 0; first < all.packing.sequences;) {
        const int64_t last = std::min<int64_t>(all.packing.sequences, first + 1 + static_cast<int64_t>(engine() % 7));
        const LossInputs part = slice(all, first, last);
        const LossResult result = grpo_loss(config, part, scale);
        parts.push_back(test::gradient(result.loss, part.logprob_N));
        loss += result.loss.item<double>();
        metrics.add(result.metrics);
        first = last;
      }
      CHECK(at::equal(at::cat(parts), grad));
      CHECK(loss == Approx(whole.loss.item<double>()).epsilon(1e-12));
      const auto a = metrics.metrics(), b = whole.metrics.metrics();
      for (size_t i = 0; i < a.size(); ++i) CHECK(a[i].second == Approx(b[i].second).epsilon(1e-12));
    }
  }
}

TEST_CASE("bnpo depends on the split, as its definition says", "[rl]") {
  const LossInputs all = random_inputs(5);
  AlgorithmConfig config;
  config.loss_agg_mode = "bnpo";
  AggregationScale scale = scale_of(all, 70);
  scale.micro_batches = 2;
  const double halves =
      grpo_loss(config, slice(all, 0, 5), scale).loss.item<double>() + grpo_loss(config, slice(all, 5, 40), scale).loss.item<double>();
  scale.micro_batches = 1;
  CHECK(std::abs(halves - grpo_loss(config, all, scale).loss.item<double>()) > 1e-6);
}

TEST_CASE("on-policy the loss is minus the mean advantage and balanced groups give zero", "[rl]") {
  LossInputs inputs;
  inputs.packing = Packing::from_lengths({3, 1, 2, 2});
  inputs.old_logprob_N = inputs.rollout_logprob_N = -at::arange(1, 9, at::kFloat) / 7;
  inputs.logprob_N = inputs.old_logprob_N.clone().requires_grad_(true);
  inputs.advantage_N = inputs.packing.spread(tensor(std::vector<double>{1.5, -0.5, -0.5, -0.5}));
  AlgorithmConfig config;
  const AggregationScale scale = scale_of(inputs, 4);
  CHECK(grpo_loss(config, inputs, scale).loss.item<double>() == Approx(-(1.5 * 3 - 0.5 * 5) / 8));
  config.loss_agg_mode = "seq-mean-token-mean";
  const LossResult result = grpo_loss(config, inputs, scale);
  CHECK(result.loss.item<double>() == Approx(0.0).margin(1e-7));
  CHECK(result.metrics.ppo_kl == 0.0);
  CHECK(result.metrics.pg_clipfrac == 0.0);
  const at::Tensor length_N = inputs.packing.spread(tensor(std::vector<double>{3, 1, 2, 2}));
  CHECK(test::largest_difference(test::gradient(result.loss, inputs.logprob_N), -inputs.advantage_N / length_N / 4) < 1e-7);
}

TEST_CASE("minimising the loss raises the entropy", "[rl]") {
  const LossInputs all = random_inputs(2);
  all.entropy_N.requires_grad_(true);
  AlgorithmConfig config;
  config.entropy_coeff = 0.5;
  const AggregationScale scale = scale_of(all, 70);
  const at::Tensor grad = test::gradient(grpo_loss(config, all, scale).loss, all.entropy_N);
  CHECK(test::largest_difference(grad, -0.5 * token_weights(all.keep_N, all.packing, "token-mean", scale)) < 1e-9);
}

TEST_CASE("bypass mode takes the rollout's log-probabilities as the old ones", "[rl]") {
  const LossInputs all = random_inputs(3);
  AlgorithmConfig config;
  config.rollout_correction.rollout_is = "none";
  LossInputs swapped = slice(all, 0, all.packing.sequences);
  swapped.old_logprob_N = swapped.rollout_logprob_N;
  const AggregationScale scale = scale_of(all, 70);
  const double expected = grpo_loss(config, swapped, scale).loss.item<double>();
  config.rollout_correction.bypass_mode = true;
  LossInputs bypass = slice(all, 0, all.packing.sequences);
  bypass.old_logprob_N = at::Tensor();
  CHECK(grpo_loss(config, bypass, scale).loss.item<double>() == expected);
}

TEST_CASE("dropped tokens have no gradient and no share of the metrics", "[rl]") {
  const LossInputs all = random_inputs(4);
  AlgorithmConfig config;
  config.use_kl_loss = true;
  const LossResult result = grpo_loss(config, all, scale_of(all, 70));
  CHECK(result.metrics.tokens == all.keep_N.sum().item<double>());
  CHECK(result.metrics.entropy == Approx((all.entropy_N * all.keep_N).to(at::kDouble).sum().item<double>()));
  const at::Tensor grad = test::gradient(result.loss, all.logprob_N);
  CHECK((grad != 0).logical_and(all.keep_N == 0).sum().item<int64_t>() == 0);
  CHECK((grad != 0).logical_and(all.keep_N == 1).sum().item<int64_t>() > 100);
}

TEST_CASE("trained tokens are those that no filter takes away", "[rl]") {
  const Packing packing = Packing::from_lengths({2, 2});
  const at::Tensor old = tensor(std::vector<double>{0, 1, 0, 0}), rollout = at::zeros({4}, at::kDouble);
  const at::Tensor truncated = test::integers({0, 1}).to(at::kBool);
  AlgorithmConfig config;
  CHECK(at::equal(trained_tokens(config, {}, {}, {}, packing), at::ones({4}, at::kFloat)));
  config.overlong_filter = true;
  config.rollout_correction.rollout_rs = "token_k3";
  config.rollout_correction.rollout_rs_threshold = 0.5;
  const at::Tensor expected = tensor(std::vector<double>{1, 0, 0, 0});
  CHECK(at::equal(trained_tokens(config, old, rollout, truncated, packing).to(at::kDouble), expected));
}

TEST_CASE("a missing or misshapen input is a fault", "[rl]") {
  const LossInputs all = random_inputs(6);
  const AggregationScale scale = scale_of(all, 70);
  AlgorithmConfig config;
  config.use_kl_loss = true;
  config.entropy_coeff = 0.1;
  config.rollout_correction.off_policy_mask_threshold = 0.1;
  CHECK_NOTHROW(grpo_loss(config, all, scale));
  const std::vector<at::Tensor LossInputs::*> members = {&LossInputs::logprob_N,         &LossInputs::old_logprob_N,
                                                         &LossInputs::rollout_logprob_N, &LossInputs::ref_logprob_N,
                                                         &LossInputs::entropy_N,         &LossInputs::advantage_N};
  for (const auto member : members) {
    LossInputs missing = all, short_one = all;
    missing.*member = at::Tensor();
    short_one.*member = (all.*member).slice(0, 1);
    CHECK_THROWS_AS(grpo_loss(config, missing, scale), Fault);
    CHECK_THROWS_AS(grpo_loss(config, short_one, scale), Fault);
  }
}
