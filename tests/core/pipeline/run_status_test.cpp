#include "core/pipeline/run_status.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <filesystem>

#include "core/config/yaml_reader.h"
#include "core/pipeline/pipeline.h"
#include "core/train/checkpoint.h"
#include "tests/core/base/temp_dir.h"

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
    train::Checkpoint c;
    c.manifest.set_stage("a"), c.manifest.set_step(step), c.manifest.set_config_hash(hash);
    c.tensors = {{"values", at::zeros({3}, at::kFloat)}};
    train::save_checkpoint(folder / "run/checkpoints/a", c, 9);
  };
  const std::string hash = stage_hashes(recipe("0.1"))[0];
  for (const uint64_t step : {9, 12, 15}) save(step, hash);
  save(20, "that of another configuration");
  std::filesystem::resize_file(folder / "run/checkpoints/a/step_15/state.safetensors", 10);
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
