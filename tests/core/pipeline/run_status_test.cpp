#include "core/pipeline/run_status.h"

#include <catch2/catch.hpp>
#include <filesystem>

#include "core/config/yaml_reader.h"
#include "core/pipeline/pipeline.h"
#include "tests/core/base/temp_dir.h"
#include "tests/core/train/small_state.h"

namespace cohort::pipeline {

TEST_CASE("the status of a run: nothing, a checkpoint, all done, and a changed stage", "[pipeline]") {
  const TempDir folder;
  const auto recipe = [&](const char* lr) {
    return config::read_config_text<Recipe>(R"(
model: {preset: calibration_a}
tokenizer: {type: chars, alphabet: "0123456789+="}
eval: {data: {tasks: ["echo_digit:1"]}, questions: 4, rollout: {n: 1, temperature: 0, max_response_length: 1}}
stages:
  - {name: a, type: sft, template: plain, data: {demonstrations: {tasks: ["echo_digit:1"]}, demonstrations_size: 8}, batch_size: 8, epochs: 1}
  - {name: b, type: sft, from: a, template: plain, data: {demonstrations: {tasks: ["echo_digit:1"]}, demonstrations_size: 8}, batch_size: 8, epochs: 1}
)",
                                            "recipe", {"run.output=" + folder / "run", std::string("stages.b.optim.lr=") + lr});
  };
  CHECK(describe_status(run_status(recipe("0.1"))) == "0 of 2 stages done; next a, from its start");
  const auto save = [&](uint64_t step, const std::string& hash) {
    records::CheckpointManifest manifest;
    manifest.set_stage("a"), manifest.set_step(step), manifest.set_config_hash(hash);
    train::save_small(folder / "run/checkpoints/a", step, 9, 2, manifest);
  };
  const std::string hash = stage_hashes(recipe("0.1"))[0];
  for (const uint64_t step : {9, 12, 15}) save(step, hash);
  save(20, "that of another configuration");
  std::filesystem::resize_file(folder / "run/checkpoints/a/step_15/shard_1_of_2.bin", 10);
  std::filesystem::create_directories(folder / "run/checkpoints/a/step_25");  // empty
  std::filesystem::create_directories(folder / "run/checkpoints/a/step_30.tmp");
  CHECK(describe_status(run_status(recipe("0.1"))) == "0 of 2 stages done; next a, from step 12");
  std::filesystem::remove_all(folder / "run");
  SoloTeam solo;
  run_recipe(recipe("0.1"), solo, {});
  CHECK(describe_status(run_status(recipe("0.1"))) == "all 2 stages done");
  CHECK(describe_status(run_status(recipe("0.2"))) == "1 of 2 stages done; next b, from its start");
}

}  // namespace cohort::pipeline
