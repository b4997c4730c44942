// The RL stage from end to end on a tiny model: every kind of objective takes its steps, and what it writes is what happened.
#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/config/yaml_reader.h"
#include "core/model/weights_io.h"
#include "core/pipeline/pipeline.h"
#include "core/train/checkpoint.h"
#include "tests/core/base/temp_dir.h"
#include "tests/support/forwarding_team.h"

namespace cohort::pipeline {
namespace {

constexpr const char* kRecipe = R"(
model: {preset: dense_tiny}
trainer: {save_freq: 2, micro_batch_size: 8}
eval: {data: {tasks: ["add:1"]}, questions: 4, rollout: {n: 1, max_response_length: 12}}
stages:
  - name: rl
    type: rl
    template: r1_zero_brief
    data: {tasks: ["add:1"]}
    rollout: {n: 4, max_response_length: 12}
    train_batch_size: 8
    ppo_mini_batch_size: 4
    steps: 2
    rewards: {accuracy: 1.0, format: 1.0, language: 1.0}
    algorithm: {filter_groups: {enable: false}, rollout_correction: {rollout_is: none}}
)";

std::vector<nlohmann::json> lines_of(const std::filesystem::path& path) {
  std::vector<nlohmann::json> rows;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) rows.push_back(nlohmann::json::parse(line));
  return rows;
}

void run(const TempDir& folder, std::vector<std::string> overrides, const RunOptions& options = {}) {
  overrides.push_back("run.output=" + folder / "run");
  SoloTeam solo;
  run_recipe(config::read_config_text<Recipe>(kRecipe, "recipe", overrides), solo, options);
}

std::string key(const char* setting) { return std::string("stages.rl.algorithm.") + setting; }

}  // namespace

TEST_CASE("every kind of objective takes its steps", "[pipeline]") {
  const auto overrides = GENERATE(values<std::vector<std::string>>({
      {},
      {key("adv_estimator=rloo"), key("use_kl_loss=true"), key("ref_update_interval=1")},
      {key("norm_adv_by_std_in_grpo=false"), key("loss_agg_mode=dr_grpo"), key("ppo_epochs=2")},
      {key("loss_mode=gspo"), key("loss_agg_mode=seq-mean-token-mean"), key("overlong_filter=true")},
      {key("loss_mode=cispo"), key("entropy_coeff=0.01")},
      {key("loss_mode=sapo"), key("rollout_correction.rollout_is=token")},
      {key("rollout_correction.rollout_rs=seq_mean_k1"), key("rollout_correction.rollout_rs_threshold=1.5")},
      {key("rollout_correction.bypass_mode=true"), key("use_kl_in_reward=true")},
      {key("adv_estimator=reinforce_plus_plus"), key("use_kl_in_reward=true"), "stages.rl.rollout.n=1"},
      {key("filter_groups.enable=true"), key("filter_groups.max_num_gen_batches=2")},
      {"stages.rl.ppo_mini_batch_size=8", "stages.rl.rewards.undecided=drop", "model.dtype=bf16"},
      {"stages.rl.train_batch_size=2", "stages.rl.ppo_mini_batch_size=1"},  // fewer questions than reduction slots
  }));
  CAPTURE(overrides);
  const TempDir folder;
  run(folder, overrides);
  const auto metrics = lines_of(folder / "run/metrics.jsonl");
  REQUIRE(metrics.size() == 2);
  for (const auto& row : metrics) {
    CHECK(row.at("training/rollout_logprob_abs_diff_max").get<double>() <= 1e-6);
    CHECK(row.at("actor/grad_norm").get<double>() > 0.0);
    CHECK(row.at("train/skipped").get<double>() == 0.0);
  }
}

TEST_CASE("samples are sorted by step, question and sample, and counted", "[pipeline]") {
  const TempDir folder;
  run(folder, {key("filter_groups.enable=true"), key("filter_groups.metric=acc"), key("filter_groups.max_num_gen_batches=3")});
  // Accuracy is 0 everywhere, so no group is informative: three rounds are sampled, nothing is trained, and the run says so.
  const auto samples = lines_of(folder / "run/samples/rl.jsonl");
  REQUIRE(samples.size() == 2 * 3 * 8 * 4);
  std::vector<std::array<int64_t, 3>> keys;
  for (const auto& s : samples) keys.push_back({s.at("step"), s.at("question_id"), s.at("sample")});
  CHECK(std::is_sorted(keys.begin(), keys.end()));
  CHECK(std::adjacent_find(keys.begin(), keys.end()) == keys.end());
  CHECK(keys.front()[0] == 1);
  for (const auto& s : samples) CHECK(s.at("response_ids").size() == s.at("logprobs").size());
  const auto metrics = lines_of(folder / "run/metrics.jsonl");
  CHECK(metrics.at(0).at("train/skipped") == 1.0);
  CHECK(metrics.at(0).at("train/num_gen_batches") == 3.0);
}

TEST_CASE("answers that nobody can judge move no weight", "[pipeline]") {
  const TempDir folder;
  std::ofstream rows(folder / "rows.jsonl");
  for (int i = 0; i < 8; ++i)  // a ground truth that is no countdown: the verifier is undecided about every answer
    rows << R"({"data_source":"own","prompt":"Reach )" << i
         << R"(.","reward_model":{"ground_truth":"?"},"extra_info":{"verifier":"countdown"}})"
         << "\n";
  rows.close();
  const std::vector<std::string> file = {"stages.rl.data.tasks=[]", "stages.rl.data.path=" + folder / "rows.jsonl",
                                         "stages.rl.optim.weight_decay=1.0", "stages.rl.template=plain"};  // plain: every text is an answer
  const auto values_after = [&](const std::vector<std::string>& more) {
    auto all = file;
    all.insert(all.end(), more.begin(), more.end());
    const TempDir output;
    run(output, all);
    for (const auto& row : lines_of(output / "run/metrics.jsonl")) CHECK(row.at("train/skipped") == (more.empty() ? 0.0 : 1.0));
    return model::load_model(output / "run/stages/rl/model")->parameters().values();
  };
  const Recipe recipe = config::read_config_text<Recipe>(kRecipe, "recipe", {});
  const model::CausalLM start(stage_architecture(recipe, recipe.stages[0]), static_cast<uint64_t>(recipe.run.seed));
  CHECK(at::equal(values_after({"stages.rl.rewards.undecided=drop"}), start.parameters().values()));
  CHECK(!at::equal(values_after({}), start.parameters().values()));
}

TEST_CASE("answers of earlier weights are trained on with their importance weights, and their age is logged", "[pipeline]") {
  const TempDir folder;
  const std::vector<std::string> stale = {"cluster.max_staleness=2", "stages.rl.steps=5", "stages.rl.ppo_mini_batch_size=8",
                                          "stages.rl.optim.lr=0.003", key("rollout_correction.rollout_is=token")};
  run(folder, stale);
  const auto metrics = lines_of(folder / "run/metrics.jsonl");
  REQUIRE(metrics.size() == 5);
  for (size_t step = 0; step < metrics.size(); ++step) {
    const double age = std::min<double>(static_cast<double>(step), 2.0);
    CHECK(metrics[step].at("staleness/mean") == age);
    CHECK(metrics[step].at("staleness/max") == age);
    CHECK(metrics[step].at("staleness/dropped_groups") == 0.0);
    const bool same_policy = metrics[step].at("training/rollout_logprob_abs_diff_max").get<double>() == 0.0;
    CHECK(same_policy == (step == 0));
    CHECK((metrics[step].at("rollout_corr/rollout_is_mean") == 1.0) == (step == 0));
  }
  for (const auto& s : lines_of(folder / "run/samples/rl.jsonl")) {
    const auto step = s.at("step").get<int64_t>() - 1;
    CHECK(s.at("policy_version") == std::max<int64_t>(0, step - 2));  // one optimizer step per RL step
  }
}

TEST_CASE("a stage that was stopped with batches under way goes on with the same bits", "[pipeline]") {
  const int staleness = GENERATE(0, 1, 3);
  CAPTURE(staleness);
  const TempDir whole, stopped;
  const std::vector<std::string> settings = {"cluster.max_staleness=" + std::to_string(staleness), "stages.rl.steps=5",
                                             key("rollout_correction.rollout_is=token"), key("filter_groups.enable=true"),
                                             key("filter_groups.max_num_gen_batches=2")};
  run(whole, settings);
  auto overrides = settings;
  overrides.push_back("run.output=" + stopped / "run");
  const Recipe recipe = config::read_config_text<Recipe>(kRecipe, "recipe", overrides);
  for (int at : {2, 1}) {
    SoloTeam solo;
    test::StoppingTeam team(solo, at);
    CHECK_THROWS_AS(run_recipe(recipe, team, {}), Stopped);
  }
  run(stopped, settings);
  for (const char* file : {"run/samples/rl.jsonl", "run/stages/rl/model/model.safetensors"})
    CHECK(read_file(whole / file, 1 << 26) == read_file(stopped / file, 1 << 26));
}

namespace {

/// Short answers of very different lengths, in rounds of three tokens.
std::vector<std::string> partial_rollouts(int max_staleness, int steps) {
  return {"model.preset=calibration_a",
          "tokenizer={type: chars, alphabet: '0123456789+='}",
          "eval.data.tasks=['echo_digit:1']",
          "stages.rl.data.tasks=['echo_digit:1']",
          "stages.rl.template=plain",
          "stages.rl.rollout.n=2",
          "stages.rl.rollout.max_response_length=24",
          "stages.rl.rollout.partial_rollout_tokens=3",
          "stages.rl.rollout.oversample=1.5",
          "stages.rl.optim.lr=0.003",
          "stages.rl.steps=" + std::to_string(steps),
          "cluster.max_staleness=" + std::to_string(max_staleness),
          "run.samples_per_step=100000",
          key("rollout_correction.rollout_is=token")};
}

}  // namespace

TEST_CASE("partial rollouts: long answers go on with newer weights, and no question is lost, repeated or too old", "[pipeline]") {
  const int staleness = GENERATE(1, 2, 3);
  const bool filter = GENERATE(false, true);
  CAPTURE(staleness, filter);
  const TempDir folder;
  auto settings = partial_rollouts(staleness, 8);
  if (filter) settings.push_back(key("filter_groups.enable=true"));
  run(folder, settings);
  double asked = 0.0, carried = 0.0, partial = 0.0, oldest = 0.0;
  const auto metrics = lines_of(folder / "run/metrics.jsonl");
  REQUIRE(metrics.size() == 8);
  for (const auto& row : metrics) {
    asked += row.at("rollout/new_questions").get<double>(), carried = row.at("rollout/carried_groups");
    partial += row.at("rollout/partial_fraction").get<double>();
    oldest = std::max(oldest, row.at("staleness/max").get<double>());
    CHECK(row.at("staleness/mean").get<double>() <= row.at("staleness/max").get<double>());
    CHECK(row.at("staleness/dropped_groups") == 0.0);
    CHECK(row.at("staleness/rejected_groups") == 0.0);
    CHECK(carried <= 4.0);
  }
  CHECK(partial > 0.0);
  CHECK(oldest <= staleness);
  CHECK(oldest > 0.0);
  std::set<std::pair<int64_t, int64_t>> seen;
  std::map<int64_t, size_t> per_step;
  bool interrupted = false;
  for (const auto& s : lines_of(folder / "run/samples/rl.jsonl")) {
    CHECK(seen.emplace(s.at("question_id"), s.at("sample")).second);
    ++per_step[s.at("step").get<int64_t>()];
    const auto trained_at = s.at("step").get<int64_t>() - 1;
    if (!s.contains("policy_versions")) continue;
    interrupted = true;
    size_t tokens = 0;
    int64_t before = -1;
    for (const auto& run_of : s.at("policy_versions")) {
      CHECK(run_of.at(0).get<int64_t>() >= before);
      before = run_of.at(0), tokens += run_of.at(1).get<size_t>();
    }
    CHECK(tokens == s.at("response_ids").size());
    CHECK(s.at("policy_versions").at(0).at(0) == s.at("policy_version"));
    // Two minibatches a step unless one had nothing to learn from.
    CHECK(before <= 2 * trained_at);
  }
  CHECK(interrupted);
  if (!filter)
    for (const auto& [step, samples] : per_step) CHECK(samples == 8 * 2);
  CHECK(static_cast<double>(seen.size()) == 2 * (asked - carried));
}

TEST_CASE("partial rollouts: a stage that was stopped with groups under way goes on with the same bits", "[pipeline]") {
  const int staleness = GENERATE(1, 3);
  CAPTURE(staleness);
  const TempDir whole, stopped;
  const auto settings = partial_rollouts(staleness, 6);
  run(whole, settings);
  for (int at : {2, 1, 1}) {
    auto overrides = settings;
    overrides.push_back("run.output=" + stopped / "run");
    SoloTeam solo;
    test::StoppingTeam team(solo, at);
    CHECK_THROWS_AS(run_recipe(config::read_config_text<Recipe>(kRecipe, "recipe", overrides), team, {}), Stopped);
  }
  run(stopped, settings);
  for (const char* file : {"run/samples/rl.jsonl", "run/stages/rl/model/model.safetensors"})
    CHECK(read_file(whole / file, 1 << 26) == read_file(stopped / file, 1 << 26));
}

namespace {

using Damage = std::function<void(records::RolloutBatchList&)>;

/// Changes what the newest checkpoint in `folder` keeps of batches under way. All else, and all hashes, are those of a good checkpoint.
void forge(const std::string& folder, const Damage& damage) {
  const std::string path = train::step_folder(folder, train::steps_in(folder).front());
  records::CheckpointManifest manifest;
  std::vector<records::TensorEntry> tensors;
  std::vector<std::string> data;
  {
    const train::SavedStep saved(path);
    manifest = saved.manifest();
    for (int i = 0; i < manifest.tensors_size(); ++i) {
      const auto tensor = static_cast<uint32_t>(i);
      tensors.push_back(manifest.tensors(i));
      data.emplace_back(static_cast<size_t>(saved.elements(tensor)) * (tensors.back().dtype() == "F32" ? 4 : 1), 0);
      saved.read(tensor, 0, saved.elements(tensor), data.back().data());
      if (tensors.back().name() != "pending/bytes") continue;
      records::RolloutBatchList list;
      REQUIRE(list.ParseFromString(data.back()));
      damage(list);
      data.back() = list.SerializeAsString();
      tensors.back() = train::tensor_entry("pending/bytes", "U8", {static_cast<int64_t>(data.back().size())});
    }
  }
  std::vector<train::SavedRun> runs;
  for (size_t i = 0; i < tensors.size(); ++i)
    runs.push_back(
        {static_cast<uint32_t>(i), 0, static_cast<int64_t>(data[i].size()) / (tensors[i].dtype() == "F32" ? 4 : 1), data[i].data()});
  std::filesystem::remove_all(path);
  train::begin_step(folder, manifest.step());
  const std::atomic<bool> cancelled = false;
  manifest.clear_shards();
  *manifest.add_shards() = train::write_shard(folder, manifest.step(), 0, 1, tensors, runs, cancelled);
  manifest.mutable_tensors()->Assign(tensors.begin(), tensors.end());
  train::commit_step(folder, manifest, 9);
}

/// Another token at the end of an answer.
void lengthen(records::Sample& s) {
  s.add_response_ids(1), s.add_logprobs(-1.0f);
  records::VersionRun& run = *s.mutable_runs(s.runs_size() - 1);
  run.set_tokens(run.tokens() + 1);
}

}  // namespace

TEST_CASE("batches under way that a checkpoint keeps are looked at before anything is made of them", "[pipeline]") {
  const TempDir stopped;
  const auto settings = partial_rollouts(2, 6);
  auto overrides = settings;
  overrides.push_back("run.output=" + stopped / "run");
  SoloTeam solo;
  test::StoppingTeam team(solo, 2);
  CHECK_THROWS_AS(run_recipe(config::read_config_text<Recipe>(kRecipe, "recipe", overrides), team, {}), Stopped);
  const auto trained = [](records::RolloutBatchList& list) { return list.mutable_batches(0)->mutable_groups(0); };
  const auto answer = [&](records::RolloutBatchList& list) { return trained(list)->mutable_samples(0); };
  const auto carried = [](records::RolloutBatchList& list) { return list.mutable_carried(0); };
  const auto summary = [&](records::RolloutBatchList& list) {
    for (records::Group& g : *list.mutable_batches(0)->mutable_asked())
      if (g.id() == trained(list)->id()) return &g;
    throw std::logic_error("no summary");
  };
  const auto carried_answer = [&](records::RolloutBatchList& list) { return carried(list)->mutable_samples(0); };
  const std::vector<std::pair<std::string, Damage>> rows = {
      {"is to be trained on, and not there", [](auto& list) { list.mutable_batches(0)->mutable_groups()->DeleteSubrange(0, 1); }},
      {"log-probabilities, found", [&](auto& list) { answer(list)->mutable_logprobs()->RemoveLast(); }},
      {"sample 0: expected token ids from 0 to", [&](auto& list) { answer(list)->set_response_ids(0, 100000); }},
      {"prompt: expected token ids from 0 to", [&](auto& list) { trained(list)->set_prompt_ids(0, -1); }},
      {"expected a prompt of 1 to", [&](auto& list) { trained(list)->clear_prompt_ids(); }},
      {"are not those of its summary", [&](auto& list) { trained(list)->mutable_samples()->RemoveLast(); }},
      {"and not done",
       [&](auto& list) {
         answer(list)->clear_finish_reason(), summary(list)->mutable_samples(0)->clear_finish_reason();
         for (records::Sample& s : *trained(list)->mutable_samples()) s.clear_response_length();
       }},
      {"is there twice", [&](auto& list) { *list.mutable_batches(0)->add_groups() = records::Group(*trained(list)); }},
      {"is chosen twice", [](auto& list) { list.mutable_batches(0)->add_chosen(list.batches(0).chosen(0)); }},
      {"version runs of", [&](auto& list) { carried_answer(list)->clear_runs(); }},
      {"expected at most 24 tokens, found",
       [&](auto& list) {
         while (carried_answer(list)->response_ids_size() <= 24) lengthen(*carried_answer(list));
       }},
      {"expected token ids from 0 to", [&](auto& list) { carried_answer(list)->set_response_ids(0, -5); }},
      {"said to be", [&](auto& list) { carried_answer(list)->set_response_length(0); }},
      {"expected at most 2 answers, found 3", [&](auto& list) { carried(list)->add_samples()->CopyFrom(carried(list)->samples(0)); }},
      {"numbers of their own", [&](auto& list) { carried(list)->mutable_samples(1)->set_index(0); }},
      {"is there twice", [&](auto& list) { list.add_carried()->CopyFrom(records::Group(*carried(list))); }},
      {"was not asked yet", [&](auto& list) { carried(list)->set_id(uint64_t{1} << 63); }},
      {"do not follow its step", [](auto& list) { list.mutable_batches(0)->set_step(9); }}};
  const auto go_on = [&](const Damage& damage) {
    const TempDir folder;
    std::filesystem::copy(stopped / "run", folder / "run", std::filesystem::copy_options::recursive);
    forge(folder / "run/checkpoints/rl", damage);
    run(folder, settings);
  };
  CHECK_NOTHROW(go_on([](auto&) {}));
  for (const auto& [problem, damage] : rows) {
    CAPTURE(problem);
    CHECK_THROWS_WITH(go_on(damage), Catch::Contains(problem) && Catch::Contains("checkpoints/rl/step_"));
    CHECK_THROWS_AS(go_on(damage), Fault);
  }
}

namespace {

/// The only member's parameters are all in its slice; counts how often they are asked for as a whole.
class CountingSharding final : public model::ParameterSharding {
 public:
  int64_t index() const override { return 0; }
  int64_t size() const override { return 1; }
  Range slice(int64_t length) const override { return {0, length}; }
  void gather(at::Tensor flat, const std::vector<Range>& wanted) override { whole += wanted[0] == Range(0, flat.numel()) ? 1 : 0; }
  bool any(bool mine) override { return mine; }

  int whole = 0;
};

class ShardedTeam final : public test::ForwardingTeam {
 public:
  using ForwardingTeam::ForwardingTeam;
  model::ParameterSharding* parameter_sharding() override { return &sharding; }

  CountingSharding sharding;
};

}  // namespace

TEST_CASE("a divided model is gathered once for a batch, however many rounds it is sampled in", "[pipeline]") {
  auto settings = partial_rollouts(2, 4);
  const bool partial = GENERATE(true, false);
  CAPTURE(partial);
  if (!partial)
    settings = {"stages.rl.steps=4", key("filter_groups.enable=true"), key("filter_groups.metric=acc"),
                key("filter_groups.max_num_gen_batches=3")};
  const TempDir folder;
  settings.insert(settings.end(), {"trainer.optimizer_sharding=zero1", "trainer.parameter_sharding=full", "run.output=" + folder / "run"});
  SoloTeam solo;
  ShardedTeam team(solo);
  run_recipe(config::read_config_text<Recipe>(kRecipe, "recipe", settings), team, {});
  double rounds = 0.0;
  for (const auto& row : lines_of(folder / "run/metrics.jsonl")) rounds += row.at("train/num_gen_batches").get<double>();
  CHECK(rounds > 4.0);
  CHECK(team.sharding.whole == 4 + 3);  // a batch each; evaluations at both ends, and the model that is left behind
}

TEST_CASE("a stage that runs again replaces its metrics", "[pipeline]") {
  const TempDir folder;
  run(folder, {});
  run(folder, {}, {.from_stage = "rl", .fresh = false});
  CHECK(lines_of(folder / "run/metrics.jsonl").size() == 2);
  run(folder, {"stages.rl.steps=3"});  // another hash
  CHECK(lines_of(folder / "run/metrics.jsonl").size() == 3);
  CHECK(lines_of(folder / "run/samples/rl.jsonl").size() == 3 * 8 * 4);
}

}  // namespace cohort::pipeline
