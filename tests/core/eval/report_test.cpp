#include "core/eval/report.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/random.h"
#include "core/config/yaml_reader.h"
#include "core/eval/evaluation.h"
#include "core/eval/pass_at_k.h"
#include "core/eval/suite.h"
#include "core/pipeline/stage_context.h"
#include "tests/support/golden.h"

namespace cohort::eval {
namespace {

/// Votes and outcomes of a group; '+' is right, other letters are wrong answers, '-' is none.
records::Group group(const std::string& source, const std::string& answers, records::Category category = records::REASONING) {
  records::Group g;
  g.mutable_question()->set_source(source);
  g.mutable_question()->set_verifier("number");
  g.mutable_question()->set_category(category);
  for (const char answer : answers) {
    records::Sample& sample = *g.add_samples();
    sample.set_outcome(answer == '+' ? records::CORRECT : records::WRONG);
    if (answer != '-') sample.set_vote(std::string(1, answer));
  }
  return g;
}

TEST_CASE("accuracy by source: mean, best of n, majority", "[eval][report]") {
  const auto sources = accuracy_by_source({group("b", "++ab"), group("a", "aa+-"), group("b", "----"), group("c", "+", records::SAFETY)});
  REQUIRE(sources.size() == 2);
  CHECK(sources[0].source() == "a");
  CHECK(sources[0].mean() == 0.25);
  CHECK(sources[0].best() == 1.0);
  CHECK(sources[0].maj() == 0.0);
  CHECK(sources[1].questions() == 2);
  CHECK(sources[1].mean() == 0.25);
  CHECK(sources[1].best() == 0.5);
  CHECK(sources[1].maj() == 0.5);
}

TEST_CASE("validation metrics have verl's names", "[eval][report]") {
  const records::EvalResult result = summarise({group("openai/gsm8k", "++a-"), group("math", "a")});
  Metrics metrics;
  pipeline::add_validation_metrics(result, 4, metrics);
  REQUIRE(metrics.find("val-core/openai/gsm8k/acc/mean@4") != nullptr);
  CHECK(*metrics.find("val-core/openai/gsm8k/acc/mean@4") == 0.5);
  CHECK(*metrics.find("val-core/openai/gsm8k/acc/best@4/mean") == 1.0);
  CHECK(*metrics.find("val-core/openai/gsm8k/acc/maj@4/mean") == 1.0);
  CHECK(*metrics.find("val-core/math/acc/mean@4") == 0.0);
  Metrics single;
  pipeline::add_validation_metrics(result, 1, single);
  CHECK(single.find("val-core/math/acc/mean@1") != nullptr);
  CHECK(single.find("val-core/math/acc/best@1/mean") == nullptr);
}

TEST_CASE("a report has pass@k for powers of two and n, and the sources where there are several", "[eval][report]") {
  const auto one = report({score_of(group("a", "++ab-b")), score_of(group("a", "------"))}, 1);
  for (const char* name : {"pass@1", "pass@2", "pass@4", "pass@6", "cons@6", "format", "language", "response_length"})
    CHECK(one.contains(name));
  CHECK_FALSE(one.contains("pass@8"));
  CHECK_FALSE(one.contains("sources"));
  CHECK(one["pass@1"]["mean"].get<double>() == Approx(1.0 / 6));
  CHECK(one["cons@6"]["mean"] == 0.5);
  const auto two = report({score_of(group("a", "+")), score_of(group("b", "a"))}, 1);
  CHECK(two["sources"]["a"]["pass@1"]["mean"] == 1.0);
  CHECK_FALSE(two.contains("cons@1"));
  CHECK_THROWS_AS(report({}, 1), Fault);
  CHECK_THROWS_AS(report({score_of(group("a", "+")), score_of(group("a", "++"))}, 1), Fault);
}

/// Questions whose chances of a right answer are drawn anew each time: the interval must contain the mean chance in about 95 of 100.
TEST_CASE("confidence intervals contain the truth in about 95 of 100 simulations", "[eval][report]") {
  constexpr int kQuestions = 200;
  const int64_t n = GENERATE(1, 8), k = GENERATE(1, 4);
  if (k > n) return;
  int contained = 0;
  for (uint64_t simulation = 0; simulation < 100; ++simulation) {
    RandomStream stream(2025, "simulation", {simulation, static_cast<uint64_t>(n)});
    std::vector<double> values;
    for (int question = 0; question < kQuestions; ++question) {
      const double chance = stream.uniform();
      int64_t correct = 0;
      for (int64_t i = 0; i < n; ++i) correct += stream.uniform() < chance;
      values.push_back(pass_at_k(n, correct, k));
    }
    const double truth = static_cast<double>(k) / static_cast<double>(k + 1);  // E[1 - (1-p)^k] for p uniform
    const Estimate estimate = bootstrap_mean(values, simulation);
    contained += estimate.low <= truth && truth <= estimate.high;
  }
  INFO("n " << n << ", k " << k << ": " << contained << " of 100");
  CHECK(contained >= 90);
  CHECK(contained <= 99);
}

TEST_CASE("the suites can be read, and one with hidden tests is refused", "[eval][suite]") {
  int read = 0;
  for (const auto& entry : std::filesystem::directory_iterator(test::source_path("configs/suites"))) {
    const std::string path = entry.path().string();
    INFO(path);
    if (path.ends_with("humaneval.yaml")) {
      CHECK_THROWS_WITH(config::read_config<Suite>(path), Catch::Contains("need a sandbox to run code in, which this build does not have"));
      continue;
    }
    const auto suite = config::read_config<Suite>(path);
    CHECK(suite.rollout.temperature == 0.6);
    CHECK(suite.rollout.top_p == 0.95);
    CHECK(suite.data.path.starts_with("$COHORT_DATA/"));
    ++read;
  }
  CHECK(read == 3);
  CHECK_THROWS_WITH(config::read_config_text<Suite>("name: x\n", "x.yaml"), Catch::Contains("tasks or a path"));
}

}  // namespace
}  // namespace cohort::eval
