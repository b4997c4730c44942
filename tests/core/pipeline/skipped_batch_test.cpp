// Batches that were skipped: written, bounded in number, computed again; and the run that stops after too many of them.
#include "core/pipeline/skipped_batch.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

#include "core/base/error.h"
#include "core/config/yaml_reader.h"
#include "core/config/yaml_writer.h"
#include "core/pipeline/pipeline.h"
#include "core/pipeline/training_session.h"
#include "tests/core/base/temp_dir.h"

namespace cohort::pipeline {
namespace {

constexpr const char* kRecipe = R"(
run: {samples_per_step: 0}
model: {preset: calibration_a}
tokenizer: {type: chars, alphabet: "0123456789+="}
trainer: {save_freq: 1}
eval: {data: {tasks: ["echo_digit:1"]}, questions: 4, rollout: {n: 1, temperature: 0, max_response_length: 1}}
stages:
  - name: warm
    type: sft
    template: plain
    data: {demonstrations: {tasks: ["echo_digit:1"]}, demonstrations_size: 64}
    batch_size: 8
    epochs: 1
    optim: {lr: 1.0e-2}
  - name: rl
    type: rl
    from: warm
    template: plain
    data: {tasks: ["echo_digit:1"]}
    rollout: {n: 2, max_response_length: 4}
    rewards: {accuracy: 1.0}
    algorithm: {use_kl_loss: true, filter_groups: {enable: false}}
)";

Recipe recipe_in(const TempDir& folder, std::vector<std::string> overrides = {}) {
  overrides.push_back("run.output=" + folder / "run");
  return config::read_config_text<Recipe>(kRecipe, "recipe", overrides);
}

TrainSample sample(std::vector<int32_t> prompt, std::vector<int32_t> completion, double advantage) {
  TrainSample s;
  const size_t n = completion.size();
  s.tokens = {std::move(prompt), std::move(completion)};
  s.rollout_logprob.assign(n, -2.0f), s.old_logprob.assign(n, -2.1f), s.ref_logprob.assign(n, -2.2f), s.advantage.assign(n, advantage);
  return s;
}

const std::vector<TrainSample> kSamples = {sample({1, 2}, {3, 4, 5}, 1.0), sample({1}, {2}, -0.5), sample({7, 8, 9}, {1, 2}, 0.25)};

struct Dump {
  records::SkippedBatch batch;
  std::string path;
};

/// An RL batch under fresh weights, as a run would dump it.
Dump dump_rl(const TempDir& folder, const model::CausalLM& policy, std::vector<TrainSample> samples) {
  records::SkippedBatch batch;
  batch.set_recipe(config::write_config(recipe_in(folder))), batch.set_stage("rl"), batch.set_step(7);
  batch.set_global_tokens(6), batch.set_global_sequences(3), batch.set_micro_batches(1);
  for (size_t i = 0; i < samples.size(); ++i) *batch.add_samples() = to_skipped(samples[i], 40 + i, 0);
  const std::string path = write_skipped_batch(folder / "bad", "rl_step_7", batch, policy.parameters().values(), at::zeros({0}));
  return {read_skipped_batch(path), path};
}

std::unique_ptr<model::CausalLM> fresh_policy(const Recipe& recipe) {
  return std::make_unique<model::CausalLM>(stage_architecture(recipe, recipe.stages[1]), 5);
}

}  // namespace

TEST_CASE("a batch that is computed again adds up to the loss of the run", "[pipeline]") {
  const TempDir folder;
  const Recipe recipe = recipe_in(folder);
  const auto policy = fresh_policy(recipe);
  const Dump dump = dump_rl(folder, *policy, kSamples);
  const Replay again = replay(dump.batch, dump.path);
  REQUIRE(again.samples.size() == 3);
  CHECK(again.bad_weights == 0);

  const auto& stage = std::get<RlStage>(recipe.stages[1].body);
  std::vector<const TrainSample*> all;
  for (const TrainSample& s : kSamples) all.push_back(&s);
  const int64_t limit = text::make_tokenizer(recipe.tokenizer)->vocabulary_size();
  policy->zero_gradients();
  const RlLoss whole = rl_loss(stage, *policy, pack_samples(all), limit, {6, 3, 4, 1}, nullptr);
  whole.loss.backward();
  policy->fold_gradients();
  CHECK(again.batch.loss == Approx(whole.metrics.loss).epsilon(1e-9));
  CHECK(again.batch.grad_norm == Approx(policy->parameters().grads().norm().item<double>()).epsilon(1e-5));
  CHECK(again.batch.grad_norm > 0.0);
  for (const Replayed& r : again.samples) CHECK(r.finite());
}

TEST_CASE("replay names the sample that is not finite, and weights that are not", "[pipeline]") {
  const TempDir folder;
  const auto policy = fresh_policy(recipe_in(folder));
  auto samples = kSamples;
  samples[1].advantage[0] = std::numeric_limits<double>::infinity();
  const Dump dump = dump_rl(folder, *policy, samples);
  const Replay again = replay(dump.batch, dump.path);
  CHECK(again.samples[0].finite());
  CHECK(!again.samples[1].finite());
  CHECK(again.samples[2].finite());
  CHECK(!again.batch.finite());

  policy->parameters().values()[3] = std::nan("");
  const Dump broken = dump_rl(folder, *policy, kSamples);
  CHECK(replay(broken.batch, broken.path).bad_weights == 1);
}

TEST_CASE("a dump that is not whole is refused", "[pipeline]") {
  const TempDir folder;
  const auto policy = fresh_policy(recipe_in(folder));
  const Dump dump = dump_rl(folder, *policy, kSamples);
  records::SkippedBatch other = dump.batch;
  other.set_stage("nobody");
  CHECK_THROWS_AS(replay(other, dump.path), InputError);
  std::fstream(folder / "bad/rl_step_7.safetensors", std::ios::in | std::ios::out | std::ios::binary).seekp(-1, std::ios::end).put('x');
  CHECK_THROWS_AS(replay(dump.batch, dump.path), InputError);
  std::filesystem::resize_file(dump.path, 10);
  CHECK_THROWS_AS(read_skipped_batch(dump.path), InputError);
  CHECK_THROWS_AS(read_skipped_batch(folder / "nowhere.pb"), InputError);
}

TEST_CASE("a dump with tokens that the model cannot read, or without numbers that the objective needs, is refused", "[pipeline]") {
  const TempDir folder;
  const auto policy = fresh_policy(recipe_in(folder));
  const Dump dump = dump_rl(folder, *policy, kSamples);
  const int32_t vocabulary = static_cast<int32_t>(policy->architecture().vocab_size);
  const std::vector<std::function<void(records::SkippedSample&)>> damages = {
      [&](records::SkippedSample& s) { s.set_prompt_ids(0, vocabulary); },
      [](records::SkippedSample& s) { s.set_prompt_ids(0, -1); },
      [&](records::SkippedSample& s) { s.set_completion_ids(0, vocabulary); },
      [](records::SkippedSample& s) { s.clear_completion_ids(); },
      [](records::SkippedSample& s) {
        for (int i = 0; i < 1 << 15; ++i) s.add_prompt_ids(1);
      },
      [](records::SkippedSample& s) { s.clear_prompt_ids(); },
      [](records::SkippedSample& s) { s.clear_advantages(); }};
  for (size_t i = 0; i < damages.size(); ++i) {
    CAPTURE(i);
    records::SkippedBatch other = dump.batch;
    damages[i](*other.mutable_samples(1));
    CHECK_THROWS_AS(replay(other, dump.path), InputError);
  }
  CHECK_NOTHROW(replay(dump.batch, dump.path));
}

TEST_CASE("only the newest dumps are kept", "[pipeline]") {
  const TempDir folder;
  const auto policy = fresh_policy(recipe_in(folder));
  const Dump dump = dump_rl(folder, *policy, kSamples);
  std::ofstream(folder / "bad/notes.txt") << "mine";
  std::filesystem::last_write_time(dump.path, std::filesystem::file_time_type::clock::now() - std::chrono::hours(1));
  for (int i = 0; i < static_cast<int>(kMaxSkippedBatches); ++i)
    write_skipped_batch(folder / "bad", "rl_step_" + std::to_string(10 + i), dump.batch, policy->parameters().values(), at::zeros({0}));
  size_t dumps = 0, weights = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "bad")) {
    dumps += entry.path().extension() == ".pb";
    weights += entry.path().extension() == ".safetensors";
  }
  CHECK(dumps == kMaxSkippedBatches);
  CHECK(weights == kMaxSkippedBatches);
  CHECK(!std::filesystem::exists(dump.path));
  CHECK(std::filesystem::exists(folder / "bad/notes.txt"));
}

TEST_CASE("too many skipped steps in a row end the run, also over a restart", "[pipeline]") {
  const TempDir folder;
  const Recipe recipe = recipe_in(folder);
  SoloTeam solo;
  const auto tokenizer = text::make_tokenizer(recipe.tokenizer);
  const StageContext context{recipe, recipe.stages[0], "hash", solo, *tokenizer};
  const auto model = context.start_model("", "");
  const train::Optimizer::Step good{1.0, 0.1, false}, bad{std::nan(""), 0.1, true};
  const auto describe = [](records::SkippedBatch& dump) { dump.add_samples()->add_completion_ids(1); };
  {
    TrainingSession session(context, *model, nullptr, {}, 5, 5);
    session.begin();
    for (const auto& [step, update] : {std::pair(0, bad), {1, bad}, {2, good}, {3, bad}, {4, bad}}) {
      session.after_update(step, update, update.skipped ? std::nan("") : 1.0, describe);
      session.finish_step(step, {}, "");
    }
  }
  for (const int step : {1, 2, 3, 4, 5})  // the last one must be saved; it does not push out the good one
    CHECK(std::filesystem::exists(folder / "run/checkpoints/warm/step_" + std::to_string(step)) == (step == 3 || step == 5));
  TrainingSession resumed(context, *model, nullptr, {}, 80, 80);
  REQUIRE(resumed.first_step() == 5);
  CHECK_THROWS_AS(resumed.after_update(5, bad, std::nan(""), describe), Fault);
  for (const char* name : {"warm_step_1", "warm_step_2", "warm_step_4", "warm_step_5", "warm_step_6"})
    CHECK(std::filesystem::exists(folder / "run/bad_batches/" + name + ".pb"));
  CHECK(read_skipped_batch(folder / "run/bad_batches/warm_step_6.pb").step() == 6);
}

TEST_CASE("a diverging stage stops, its batches can be computed again", "[pipeline]") {
  const TempDir folder;
  SoloTeam solo;
  CHECK_THROWS_AS(
      run_recipe(recipe_in(folder, {"stages.warm.optim.lr=1000", "stages.warm.optim.weight_decay=1000", "stages.warm.optim.clip_grad=0"}),
                 solo, {}),
      Fault);
  const std::string path = folder / "run/bad_batches/warm_step_2.pb";
  const auto batch = read_skipped_batch(path);
  CHECK(batch.samples_size() == 8);
  CHECK((!std::isfinite(batch.loss()) || !std::isfinite(batch.grad_norm())));
  const Replay again = replay(batch, path);
  CHECK(!again.batch.finite());
  CHECK(std::filesystem::exists(folder / "run/checkpoints/warm/step_1/manifest.json"));
}

}  // namespace cohort::pipeline
