// Ranks that only roll out beside ranks that only train, when something is wrong or late. The numbers are those of the table of faults in
// tests/README.md.
#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/base/file.h"
#include "core/base/json.h"
#include "core/config/yaml_reader.h"
#include "core/pipeline/pipeline.h"
#include "core/pipeline/training_session.h"
#include "distributed/comm/thread_world.h"
#include "distributed/roles/rank_team.h"
#include "tests/core/base/temp_dir.h"
#include "tests/distributed/worlds.h"
#include "tests/support/forwarding_team.h"

namespace cohort::pipeline {
namespace {

constexpr const char* kRecipe = R"(
run: {samples_per_step: 1000}
model: {preset: calibration_a}
tokenizer: {type: chars, alphabet: "0123456789+="}
trainer: {save_freq: 1, keep_last: 9, reduction_slots: 4}
eval: {data: {tasks: ["echo_digit:1"]}, questions: 4, rollout: {n: 1, max_response_length: 1}}
stages:
  - name: rl
    type: rl
    template: plain
    data: {tasks: ["echo_digit:1"]}
    rollout: {n: 4, max_response_length: 4}
    train_batch_size: 8
    ppo_mini_batch_size: 8
    steps: 5
    rewards: {accuracy: 1.0}
    optim: {lr: 1.0e-2}
    algorithm: {filter_groups: {enable: false}, rollout_correction: {rollout_is: token}}
)";

Recipe recipe_in(const TempDir& folder, std::vector<std::string> settings) {
  settings.push_back("run.output=" + folder / "run");
  return config::read_config_text<Recipe>(kRecipe, "recipe", settings);
}

std::vector<nlohmann::json> lines_of(const std::string& path) {
  std::vector<nlohmann::json> lines;
  const std::string text = read_file(path, 1 << 26);
  for (size_t from = 0; from < text.size();) {
    const size_t end = text.find('\n', from);
    lines.push_back(parse_json(text.substr(from, end - from), path));
    from = end + 1;
  }
  return lines;
}

using Disturb = std::function<std::unique_ptr<Team>(Team& team)>;

/// The recipe on two ranks that train and one that rolls out.
void run_split(const Recipe& recipe, const Disturb& disturb) {
  comm::run_on_threads(
      3,
      [&](comm::Communicator world) {
        roles::RankTeam team(world, 1);
        const auto disturbed = disturb(team);
        run_recipe(recipe, *disturbed, {});
      },
      test::impatient());
}

std::vector<std::string> split(int staleness) {
  return {"cluster.placement=split", "cluster.rollout_ranks=1", "cluster.max_staleness=" + std::to_string(staleness)};
}

/// A rollout rank that believes, after its n-th weights, to have others than those it got.
class Mistaken final : public test::ForwardingTeam {
 public:
  Mistaken(Team& team, int at) : ForwardingTeam(team), left_(at) {}
  uint64_t publish(model::CausalLM& model, uint64_t version) override {
    const uint64_t published = ForwardingTeam::publish(model, version);
    return trainers() == nullptr && --left_ == 0 ? published + 1000 : published;
  }

 private:
  int left_;
};

/// A rollout rank that is slower than those who train.
class Slow final : public test::ForwardingTeam {
 public:
  using ForwardingTeam::ForwardingTeam;
  std::vector<uint64_t> assign(uint64_t step, const std::vector<uint64_t>& ids) override {
    std::this_thread::sleep_for(std::chrono::milliseconds(step > 1 ? 300 : 0));
    return ForwardingTeam::assign(step, ids);
  }
};

}  // namespace

TEST_CASE("fault 12: answers of weights that were never published are not trained on, and counted", "[split_faults]") {
  if (comm::MpiSession::world().size() > 1) return;
  const int staleness = GENERATE(0, 1);
  CAPTURE(staleness);
  const TempDir folder;
  run_split(recipe_in(folder, split(staleness)), [](Team& team) { return std::make_unique<Mistaken>(team, 2); });
  const auto metrics = lines_of(folder / "run/metrics.jsonl");
  REQUIRE(metrics.size() == 5);
  // The second weights are those of two finished steps: they sample the batch of step 2 + staleness, counted from 0.
  for (size_t step = 0; step < metrics.size(); ++step) {
    CAPTURE(step);
    const bool bad = step == static_cast<size_t>(2 + staleness);
    CHECK(metrics[step].value("staleness/rejected_groups", 0.0) == (bad ? 8.0 : 0.0));
    CHECK(metrics[step].at("train/skipped") == (bad ? 1.0 : 0.0));
  }
}

TEST_CASE("fault 14: weights that are ready while rollouts decode wait for them; every answer is of one version, which it names",
          "[split_faults]") {
  if (comm::MpiSession::world().size() > 1) return;
  const TempDir folder, quiet;
  run_split(recipe_in(folder, split(1)), [](Team& team) { return std::make_unique<Slow>(team); });
  run_split(recipe_in(quiet, split(1)), [](Team& team) { return std::make_unique<test::ForwardingTeam>(team); });
  CHECK(read_file(folder / "run/samples/rl.jsonl", 1 << 26) == read_file(quiet / "run/samples/rl.jsonl", 1 << 26));
  for (const auto& sample : lines_of(folder / "run/samples/rl.jsonl"))
    CHECK(sample.at("policy_version") == std::max<int64_t>(0, sample.at("step").get<int64_t>() - 2));  // one update a step, steps from 1
  double waited = 0.0;
  for (const auto& m : lines_of(folder / "run/metrics.jsonl")) waited = std::max(waited, m.at("timing_s/update_weights").get<double>());
  CHECK(waited > 0.2);  // the trainers were done long before
}

TEST_CASE("ranks that roll out agree that a step whose update was skipped is not saved", "[split_faults]") {
  if (comm::MpiSession::world().size() > 1) return;
  const TempDir folder;
  const Recipe recipe = recipe_in(folder, split(0));
  const auto tokenizer = text::make_tokenizer(recipe.tokenizer);
  comm::run_on_threads(
      3,
      [&](comm::Communicator world) {
        roles::RankTeam team(world, 1);
        const StageContext context{recipe, recipe.stages[0], "hash", team, *tokenizer};
        const auto model = context.start_model("", "");
        const auto describe = [](records::SkippedBatch& dump) { dump.add_samples()->add_completion_ids(1); };
        TrainingSession session(context, *model, nullptr, {}, 4, 4);
        session.begin();
        for (int step = 0; step < 4; ++step) {
          if (team.trainers() != nullptr) session.after_update(step, {1.0, 0.1, step == 1}, 1.0, describe);
          session.finish_step(step, {}, "");
        }
      },
      test::impatient());
  for (int step : {1, 2, 3, 4}) CHECK(std::filesystem::exists(folder / "run/checkpoints/rl/step_" + std::to_string(step)) == (step != 2));
}

}  // namespace cohort::pipeline
