#include "core/pipeline/rl_batch.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <catch2/catch.hpp>
#include <cmath>

#include "core/base/error.h"
#include "core/generate/generator.h"
#include "core/model/causal_lm.h"

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

namespace {

/// One answer of two versions: 4 tokens of one model and the rest of another, and what a third one, which is trained, says of them.
struct MixedAnswer {
  text::CharTokenizer tokenizer{"0123456789+="};
  model::Architecture architecture = [] {
    model::Architecture a = model::architecture_preset("dense_tiny");
    a.vocab_size = 16, a.initializer_range = 0.2;
    return a;
  }();
  model::CausalLM first{architecture, 5}, second{architecture, 5}, trained{architecture, 5};
  TrainGroup group;
  std::vector<float> current;

  MixedAnswer() {
    const at::NoGradGuard no_grad;
    second.parameters().values().mul_(1.1), trained.parameters().values().mul_(1.2);
    generate::RolloutConfig c = {.n = 1, .max_response_length = 12};
    std::vector<records::Group> asked(1);
    asked[0].set_id(4);
    for (int32_t id : {3, 1, 4}) asked[0].add_prompt_ids(id);
    generate::Generator(first, tokenizer, c).advance(asked, {17, "rl", 0}, {0, 0}, 4);
    generate::Generator(second, tokenizer, c).advance(asked, {17, "rl", 0}, {1, 1}, 12);
    REQUIRE(asked[0].samples(0).runs_size() == 2);
    REQUIRE(asked[0].samples(0).runs(1).tokens() >= 2);
    group = to_train_group(asked[0]);
    group[0].advantage.assign(group[0].tokens.completion.size(), 0.7);
    current = logprobs(trained);
  }

  std::vector<float> logprobs(model::CausalLM& model) const {
    const at::NoGradGuard no_grad;
    const at::Tensor t = model::completion_logprobs(model, {group[0].tokens}, 1.0, tokenizer.vocabulary_size()).logprob_N;
    return {t.data_ptr<float>(), t.data_ptr<float>() + t.numel()};
  }

  RlLoss loss(const std::string& rollout_is, bool bypass) {
    RlStage stage;
    stage.algorithm.rollout_correction.rollout_is = rollout_is, stage.algorithm.rollout_correction.bypass_mode = bypass;
    const auto tokens = static_cast<double>(current.size());
    return rl_loss(stage, trained, pack_samples({&group[0]}), tokenizer.vocabulary_size(), {tokens, 1.0, 12.0, 1.0}, nullptr);
  }
};

}  // namespace

TEST_CASE("the loss of an answer of two versions weighs each token by the log-probability recorded when it was sampled") {
  MixedAnswer a;
  const std::vector<float>& recorded = a.group[0].rollout_logprob;
  const std::vector<float> of_first = a.logprobs(a.first), of_second = a.logprobs(a.second);
  const double tokens = static_cast<double>(recorded.size());
  double corrected = 0.0, bypassed = 0.0, weights = 0.0, log_sum = 0.0;
  for (size_t t = 0; t < recorded.size(); ++t) {
    CHECK(recorded[t] == (t < 4 ? of_first[t] : of_second[t]));
    const double ratio = std::exp(static_cast<double>(a.current[t]) - recorded[t]);
    CHECK(ratio != 1.0);
    const double weight = std::min(2.0, ratio);  // rollout_is_threshold
    // With one update the old policy is the trained one: its ratio is 1, and the weight carries it all.
    corrected -= weight * 0.7 / tokens, weights += weight, log_sum += static_cast<double>(a.current[t]) - recorded[t];
    bypassed += std::max(-0.7 * ratio, -0.7 * std::min(1.28, std::max(0.8, ratio))) / tokens;
  }
  const RlLoss token = a.loss("token", false), bypass = a.loss("none", true), sequence = a.loss("sequence", false);
  CHECK(token.loss.item<double>() == Approx(corrected).epsilon(1e-6));
  CHECK(token.metrics.rollout_is == Approx(weights).epsilon(1e-6));
  CHECK(bypass.loss.item<double>() == Approx(bypassed).epsilon(1e-6));
  CHECK(sequence.loss.item<double>() == Approx(-0.7 * std::min(2.0, std::exp(log_sum))).epsilon(1e-6));
  CHECK(token.loss.item<double>() != Approx(-0.7).epsilon(1e-3));  // what it would be without the recorded ones
}

}  // namespace cohort::pipeline
