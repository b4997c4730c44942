// The SFT stage from end to end on a tiny model: it ends where it is told to, and a resumed stage knows that it has ended.
#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/config/yaml_reader.h"
#include "core/pipeline/pipeline.h"
#include "core/pipeline/training_session.h"
#include "tests/core/base/temp_dir.h"

namespace cohort::pipeline {
namespace {

constexpr const char* kRecipe = R"(
run: {samples_per_step: 0}
model: {preset: calibration_a}
tokenizer: {type: chars, alphabet: "0123456789+="}
eval: {data: {tasks: ["echo_digit:1"]}, questions: 32, test_freq: 5, rollout: {n: 1, temperature: 0, max_response_length: 1}}
stages:
  - name: warm
    type: sft
    template: plain
    data: {demonstrations: {tasks: ["echo_digit:1"]}, demonstrations_size: 512}
    batch_size: 32
    epochs: 5  # 80 steps
    optim: {lr: 1.0e-2}
)";

Recipe recipe_in(const TempDir& folder, std::vector<std::string> overrides) {
  overrides.push_back("run.output=" + folder / "run");
  return config::read_config_text<Recipe>(kRecipe, "recipe", overrides);
}

std::vector<nlohmann::json> metrics_of(const TempDir& folder) {
  std::vector<nlohmann::json> rows;
  std::ifstream file(folder / "run/metrics.jsonl");
  for (std::string line; std::getline(file, line);) rows.push_back(nlohmann::json::parse(line));
  return rows;
}

/// What a session of the recipe's stage works on.
struct OpenStage {
  TempDir folder;
  Recipe recipe = recipe_in(folder, {});
  SoloTeam solo;
  std::unique_ptr<text::Tokenizer> tokenizer = text::make_tokenizer(recipe.tokenizer);
  StageContext context{recipe, recipe.stages[0], "hash", solo, *tokenizer};
  std::unique_ptr<model::CausalLM> model = context.start_model("", "");
};

constexpr const char* kAccuracy = "val-core/reasoning/accuracy/mean@1";

}  // namespace

TEST_CASE("sft ends at the first evaluation that finds the accuracy asked for", "[pipeline]") {
  const TempDir folder;
  SoloTeam solo;
  run_recipe(recipe_in(folder, {"stages.warm.stop_at_accuracy=0.6"}), solo, {});
  const auto metrics = metrics_of(folder);
  REQUIRE(metrics.size() < 80);
  REQUIRE(metrics.size() % 5 == 0);
  CHECK(metrics.back().at(kAccuracy).get<double>() >= 0.6);
  for (size_t i = 0; i + 1 < metrics.size(); ++i) {
    CHECK(metrics[i].contains(kAccuracy) == ((i + 1) % 5 == 0));
    if (metrics[i].contains(kAccuracy)) CHECK(metrics[i].at(kAccuracy).get<double>() < 0.6);
  }
  std::ifstream summary(folder / "run/summary.json");
  CHECK(nlohmann::json::parse(summary).at("stages").at(0).at("steps") == metrics.size());
}

TEST_CASE("a run does not touch a folder that is not its own", "[pipeline]") {
  const TempDir folder;
  SoloTeam solo;
  std::filesystem::create_directories(folder / "run/checkpoints/mine");
  CHECK_THROWS_WITH(require_own_folder(folder / "run"), Catch::Contains("run.output") && Catch::Contains("\"checkpoints\""));
  CHECK_NOTHROW(require_own_folder(folder / "new"));
  std::filesystem::create_directories(folder / "empty");
  CHECK_NOTHROW(require_own_folder(folder / "empty"));
  const TempDir other;
  run_recipe(recipe_in(other, {}), solo, {});
  CHECK_NOTHROW(require_own_folder(other / "run"));
}

TEST_CASE("a model that is not finite is neither saved nor passed on", "[pipeline]") {
  const OpenStage stage;
  CHECK_NOTHROW(require_finite(*stage.model, "warm"));
  TrainingSession session(stage.context, *stage.model, nullptr, {}, 80, 80);
  session.begin();
  stage.model->parameters().values()[3] = std::nanf("");
  session.finish_step(0, {}, "");  // nothing to save yet
  session.end_early();
  CHECK_THROWS_WITH(session.finish_step(1, {}, ""), Catch::Contains("stage warm: weights are not finite"));
  CHECK(!std::filesystem::exists(stage.folder / "run/checkpoints/warm/step_2"));
}

TEST_CASE("a session that ended early is resumed as ended", "[pipeline]") {
  const OpenStage stage;
  {
    TrainingSession session(stage.context, *stage.model, nullptr, {}, 80, 80);
    session.begin();
    session.finish_step(0, {}, "");
    CHECK(session.steps() == 80);
    session.end_early();
    session.finish_step(1, {}, "");
    CHECK(session.steps() == 2);
  }
  const TrainingSession resumed(stage.context, *stage.model, nullptr, {}, 80, 80);
  CHECK(resumed.first_step() == 2);
  CHECK(resumed.steps() == 2);
}

}  // namespace cohort::pipeline
