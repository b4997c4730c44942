#include "core/pipeline/recipe.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "core/base/error.h"
#include "core/config/yaml_reader.h"
#include "tests/core/base/temp_dir.h"
#include "tests/support/golden.h"

namespace cohort::pipeline {
namespace {

using Names = std::vector<std::string>;

const char* const kRecipe = R"(
model: {preset: dense_tiny}
eval: {data: {tasks: [add:1]}}
stages:
  - {name: base, type: pretrain, data: {tasks: [add:1]}}
  - {name: zero, type: rl, from: base, data: {tasks: [add:1]}}
  - {name: curated, type: rejection_sampling, policy: zero, data: {tasks: [add:1]}}
  - {name: more, type: rejection_sampling, policy: base, data: {tasks: [add:1]}}
  - {name: sft, type: sft, from: base, data: {from: [curated, more, curated]}}
  - {name: judge, type: reward_model, from: sft, data: {tasks: [instruction:1]}}
  - {name: r1, type: rl, from: sft, data: {tasks: [add:1]}, rewards: {preference: 1}, preference_model: judge}
  - {name: student, type: sft, model: deepseek_v3_tiny, data: {from: curated}}
)";

Recipe read(const Names& settings = {}) { return config::read_config_text<Recipe>(kRecipe, "c.yaml", settings); }

/// Names of the stages whose hash changes with these settings.
Names changed_by(const Names& settings) {
  const Recipe changed = read(settings);
  const Names before = stage_hashes(read());
  const Names after = stage_hashes(changed);
  Names names;
  for (size_t i = 0; i < after.size(); ++i)
    if (before[i] != after[i]) names.push_back(changed.stages[i].name);
  return names;
}

const Names kAll = {"base", "zero", "curated", "more", "sft", "judge", "r1", "student"};

TEST_CASE("a stage's inputs are the stages it names, each once") {
  const Recipe recipe = read();
  CHECK(stage_inputs(recipe.stages[0]) == Names{});
  CHECK(stage_inputs(recipe.stages[1]) == Names{"base"});
  CHECK(stage_inputs(recipe.stages[2]) == Names{"zero"});
  CHECK(stage_inputs(recipe.stages[4]) == Names{"base", "curated", "more"});
  CHECK(stage_inputs(recipe.stages[6]) == Names{"sft", "judge"});
  CHECK(stage_inputs(recipe.stages[7]) == Names{"curated"});
}

TEST_CASE("types and names") {
  const Recipe recipe = read();
  CHECK(std::string(recipe.stages[2].type()) == "rejection_sampling");
  CHECK(find_stage(recipe, "sft") == &recipe.stages[4]);
  CHECK(find_stage(recipe, "other") == nullptr);
  for (const char* good : {"a", "R1-Zero_2", "-"}) CHECK(StageConfig::valid_name(good));
  for (const char* bad : {"", "a/b", "..", "a b", "数学", "a.b"}) CHECK_FALSE(StageConfig::valid_name(bad));
  CHECK(StageConfig::valid_name(std::string(64, 'a')));
  CHECK_FALSE(StageConfig::valid_name(std::string(65, 'a')));
}

TEST_CASE("a stage has its own model, or that of the stage it starts from, or the recipe's") {
  Recipe recipe = read();
  CHECK(stage_architecture(recipe, recipe.stages[0]).model_type == "qwen2");
  CHECK(stage_architecture(recipe, recipe.stages[0]).vocab_size == 272);  // the byte tokenizer's
  CHECK(stage_architecture(recipe, recipe.stages[7]).model_type == "deepseek_v3");

  recipe = read({"stages.base.model=deepseek_v3_tiny"});
  for (const char* name : {"base", "zero", "curated", "more", "sft", "judge", "r1"}) {
    CAPTURE(name);
    CHECK(stage_architecture(recipe, *find_stage(recipe, name)).model_type == "deepseek_v3");
  }
  CHECK(stage_architecture(read({"model.preset=deepseek_v3"}), read().stages[0]).vocab_size == 129280);

  recipe = read({"model.path=" + test::golden_path("model/qwen3_moe")});
  CHECK(stage_architecture(recipe, recipe.stages[0]).model_type == "qwen3_moe");
  CHECK(stage_architecture(recipe, recipe.stages[6]).model_type == "qwen3_moe");
  CHECK(stage_architecture(recipe, recipe.stages[7]).model_type == "deepseek_v3");
}

TEST_CASE("what changes a result changes the hash of its stage and of all that depend on it") {
  CHECK(changed_by({}) == Names{});
  CHECK(changed_by({"run.seed=18"}) == kAll);
  CHECK(changed_by({"eval.questions=7"}) == kAll);
  CHECK(changed_by({"model.dtype=bf16"}) == kAll);
  CHECK(changed_by({"trainer.reduction_slots=8"}) == kAll);
  CHECK(changed_by({"stages.base.steps=1"}) == kAll);
  CHECK(changed_by({"stages.zero.steps=1"}) == Names{"zero", "curated", "sft", "judge", "r1", "student"});
  CHECK(changed_by({"stages.more.questions=1"}) == Names{"more", "sft", "judge", "r1"});
  CHECK(changed_by({"stages.judge.epochs=3"}) == Names{"judge", "r1"});
  CHECK(changed_by({"stages.student.epochs=3"}) == Names{"student"});
  CHECK(changed_by({"stages.r1.optim.lr=0.5"}) == Names{"r1"});
  // The student has a model of its own, whatever the recipe's is; the others descend from the base.
  CHECK(changed_by({"model.preset=calibration_a"}) == Names{"base", "zero", "curated", "more", "sft", "judge", "r1", "student"});
  CHECK(changed_by({"stages.student.data.from=[more]", "stages.student.max_length=9"}) == Names{"student"});
}

TEST_CASE("what only changes speed, place or bookkeeping changes no hash") {
  CHECK(changed_by({"run.name=x", "run.output=elsewhere", "run.samples_per_step=0", "cluster.deadline_s=5", "trainer.micro_batch_size=3",
                    "trainer.save_freq=1", "trainer.keep_last=9", "trainer.resume_mode=disable", "trainer.recompute=layer",
                    "trainer.optimizer_sharding=zero1", "trainer.parameter_sharding=full", "stages.zero.rollout.max_num_seqs=700",
                    "stages.curated.rollout.max_num_seqs=700", "eval.rollout.max_num_seqs=700"}) == Names{});
}

TEST_CASE("the bytes of a data file count, its place does not") {
  const TempDir folder;
  const auto hash_with = [&](const std::string& path) {
    return stage_hashes(read({"stages.zero.data.tasks=[]", "stages.zero.data.path=" + path}))[1];
  };
  std::ofstream(folder / "a.jsonl") << "one\n";
  const std::string hash = hash_with(folder / "a.jsonl");
  std::filesystem::rename(folder / "a.jsonl", folder / "b.jsonl");
  CHECK(hash_with(folder / "b.jsonl") == hash);
  std::ofstream(folder / "b.jsonl") << "two\n";
  CHECK(hash_with(folder / "b.jsonl") != hash);
  CHECK_THROWS_AS(hash_with(folder / "a.jsonl"), InputError);
}

TEST_CASE("the bytes of a model folder count where a stage starts from it") {
  const std::string folder = test::golden_path("model/qwen2_tied");
  CHECK(changed_by({"model.path=" + folder}) == Names{"base", "zero", "curated", "more", "sft", "judge", "r1", "student"});
  const Names one = stage_hashes(read({"model.path=" + folder}));
  const Names other = stage_hashes(read({"model.path=" + test::golden_path("model/qwen2_untied")}));
  CHECK(one[0] != other[0]);
  // Another spelling of the same folder is the same model.
  CHECK(stage_hashes(read({"model.path=" + folder + "/../qwen2_tied"})) == one);
}

}  // namespace
}  // namespace cohort::pipeline
