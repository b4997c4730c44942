// Checkpoints that many ranks write and others read: any layout to any other, and what happens when one rank cannot write or read. The
// numbers of faults are those of the table in tests/README.md.
#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>

#include "core/base/file.h"
#include "core/config/yaml_reader.h"
#include "core/pipeline/training_session.h"
#include "distributed/comm/thread_world.h"
#include "distributed/roles/rank_team.h"
#include "tests/core/base/temp_dir.h"
#include "tests/distributed/worlds.h"
#include "tests/support/forwarding_team.h"

namespace cohort::pipeline {
namespace {

namespace fs = std::filesystem;
using test::expect;

struct Layout {
  int ranks;
  int experts = 1;
  const char* sharding = "none";
  int rollout_ranks = 0;
};

Recipe recipe_in(const TempDir& folder, const Layout& layout, const char* preset = "deepseek_v3_tiny") {
  std::vector<std::string> settings = {"run.output=" + folder / "run", std::string("model.preset=") + preset,
                                       "cluster.expert_parallel_size=" + std::to_string(layout.experts),
                                       std::string("trainer.optimizer_sharding=") + layout.sharding};
  if (layout.rollout_ranks > 0)
    settings.insert(settings.end(), {"cluster.placement=split", "cluster.rollout_ranks=" + std::to_string(layout.rollout_ranks)});
  return config::read_config_text<Recipe>(R"(
trainer: {save_freq: 1, keep_last: 100}
tokenizer: {type: chars, alphabet: "0123456789+="}
eval: {data: {tasks: ["echo_digit:1"]}, questions: 4, rollout: {n: 1, max_response_length: 1}}
stages:
  - {name: warm, type: sft, template: plain, data: {demonstrations: {tasks: ["echo_digit:1"]}, demonstrations_size: 8}, batch_size: 8, epochs: 1}
)",
                                          "recipe", settings);
}

/// A session of the recipe's stage on one rank of a layout.
struct Member {
  const Recipe& recipe;
  Team& team;
  std::unique_ptr<text::Tokenizer> tokenizer = text::make_tokenizer(recipe.tokenizer);
  StageContext context{recipe, recipe.stages[0], "hash", team, *tokenizer};
  std::unique_ptr<model::CausalLM> model = context.start_model("", "");
  std::unique_ptr<model::CausalLM> reference;
  std::unique_ptr<TrainingSession> session;

  Member(const Recipe& r, Team& t, bool with_reference) : recipe(r), team(t) {
    if (with_reference && team.trainers() != nullptr) {
      reference = context.start_model("", "");
      reference->parameters().values().mul_(0.5);
    }
    session = std::make_unique<TrainingSession>(context, *model, reference.get(), train::OptimConfig{}, 100, 100);
  }
};

using Body = std::function<void(Member& member)>;
using Disturb = std::function<std::unique_ptr<Team>(Team& team)>;

void run_layout(const TempDir& folder, const Layout& layout, const Body& body, const Disturb& disturb = {}, bool with_reference = true) {
  const Recipe recipe = recipe_in(folder, layout);
  comm::run_on_threads(
      layout.ranks,
      [&](comm::Communicator world) {
        roles::RankTeam team(world, layout.rollout_ranks, layout.experts);
        const std::unique_ptr<Team> disturbed = disturb ? disturb(team) : nullptr;
        Member member(recipe, disturbed ? *disturbed : team, with_reference);
        body(member);
      },
      test::impatient());
}

/// Numbers that no two places of the state share.
at::Tensor pattern(int64_t begin, int64_t count, double scale) { return (at::arange(begin, begin + count, at::kFloat) + 1.0) * scale; }

void fill(Member& m) {
  const int64_t size = m.model->parameters().size();
  m.model->parameters().values().copy_(pattern(0, size, 1e-6));
  const auto [begin, end] = m.session->optimizer().range();
  m.session->optimizer().first_moment().copy_(pattern(begin, end - begin, 1e-7));
  m.session->optimizer().second_moment().copy_(pattern(begin, end - begin, 1e-8));
  m.session->optimizer().set_steps(7);
  for (const at::Tensor& bias : m.model->router_biases()) bias.copy_(pattern(3, bias.numel(), 1e-3));
  if (m.reference) m.reference->parameters().values().copy_(pattern(0, size, 1e-5));
}

void expect_filled(Member& m) {
  const int64_t size = m.model->parameters().size();
  expect(at::equal(m.model->parameters().values(), pattern(0, size, 1e-6)), "the values that were saved");
  const auto [begin, end] = m.session->optimizer().range();
  expect(at::equal(m.session->optimizer().first_moment(), pattern(begin, end - begin, 1e-7)), "the first moments that were saved");
  expect(at::equal(m.session->optimizer().second_moment(), pattern(begin, end - begin, 1e-8)), "the second moments that were saved");
  expect(m.session->optimizer().steps() == 7, "the optimizer's steps");
  for (const at::Tensor& bias : m.model->router_biases()) expect(at::equal(bias, pattern(3, bias.numel(), 1e-3)), "the router biases");
  if (m.reference) expect(at::equal(m.reference->parameters().values(), pattern(0, size, 1e-5)), "the reference that was saved");
  expect(m.session->pending == "sampled and not trained on", "the stage's own bytes");
}

/// Another step that is the last, so that it is waited for.
void save_one(Member& m, int64_t step) {
  m.session->on_save = [&] { return m.team.leads() ? "sampled and not trained on" : ""; };
  m.session->end_early();
  m.session->finish_step(step, {}, "");
}

std::string step_path(const TempDir& folder, int64_t step) { return folder / "run/checkpoints/warm/step_" + std::to_string(step); }

void flip(const std::string& path, size_t at) {
  std::string bytes = read_file(path, 1 << 26);
  bytes.at(at) ^= 1;
  std::ofstream(path, std::ios::binary) << bytes;
}

bool on_mpi() { return comm::MpiSession::world().size() > 1; }

}  // namespace

TEST_CASE("a checkpoint goes through every layout and back, and its tensors keep their hashes", "[team_checkpoint]") {
  if (on_mpi()) return;
  const TempDir folder;
  const std::vector<Layout> layouts = {
      {4, 2, "zero1"}, {1}, {2}, {2, 2}, {8, 4}, {8, 4, "zero1"}, {3, 1, "zero1", 1}, {5, 2, "none", 1}, {3}, {7, 1, "zero1"},
      {4, 2, "zero1"}};
  std::vector<std::string> first;
  for (size_t leg = 0; leg < layouts.size(); ++leg) {
    CAPTURE(leg);
    const auto step = static_cast<int64_t>(leg);
    run_layout(folder, layouts[leg], [&](Member& m) {
      if (leg == 0) {
        m.session->begin();
        fill(m);
      } else {
        expect(m.session->first_step() == step, "the newest step, found step " + std::to_string(m.session->first_step()));
        expect_filled(m);
      }
      save_one(m, step);
    });
    const train::SavedStep saved(step_path(folder, step + 1));
    CHECK(saved.manifest().shards_size() == layouts[leg].ranks - layouts[leg].rollout_ranks);
    const auto hashes = saved.tensor_hashes();
    if (leg == 0) first = hashes;
    CHECK(hashes == first);
    CHECK(std::set<std::string>(hashes.begin(), hashes.end()).size() > 60);
  }
  CHECK(fs::exists(step_path(folder, 1)));
}

TEST_CASE("no member gathers what others hold: each shard is as large as its member's slice", "[team_checkpoint]") {
  if (on_mpi()) return;
  const TempDir folder;
  run_layout(
      folder, {4, 1, "zero1"}, [](Member& m) { m.session->begin(); }, {}, false);
  const train::SavedStep saved(step_path(folder, 0));
  uint64_t most = 0, least = ~uint64_t{0}, all = 0;
  for (const auto& shard : saved.manifest().shards())
    most = std::max(most, shard.bytes()), least = std::min(least, shard.bytes()), all += shard.bytes();
  CHECK(least > all / 4 - 4096);
  CHECK(most < all / 4 + 4096);
}

namespace {

/// A rank in whose way something lies when it wants to write its shard of a step.
class Obstructed final : public test::ForwardingTeam {
 public:
  Obstructed(Team& team, std::string temporary) : ForwardingTeam(team), temporary_(std::move(temporary)) {}
  std::vector<std::string> gather(const std::string& mine) override {
    auto all = ForwardingTeam::gather(mine);
    if (index() == 1 && fs::exists(temporary_)) std::ofstream(temporary_ + "/shard_1_of_3.bin", std::ios::app) << "";
    return all;
  }

 private:
  std::string temporary_;
};

Disturb obstructed_at(const TempDir& folder, int step) {
  return [&folder, step](Team& team) { return std::make_unique<Obstructed>(team, step_path(folder, step) + ".tmp"); };
}

}  // namespace

TEST_CASE("faults 17 and 18: a rank that cannot write fails the save for all; training goes on and the next save succeeds",
          "[team_checkpoint]") {
  if (on_mpi()) return;
  const TempDir folder;
  run_layout(
      folder, {3, 1, "zero1"},
      [](Member& m) {
        m.session->begin();
        for (int step = 0; step < 4; ++step) m.session->finish_step(step, {}, "");
        m.session->end_early();
        m.session->finish_step(4, {}, "");
      },
      obstructed_at(folder, 2));
  for (const int step : {0, 1, 2, 3, 4, 5}) CHECK(fs::exists(step_path(folder, step)) == (step != 2));
  const std::string metrics = read_file(folder / "run/metrics.jsonl", 1 << 20);
  for (const char* name : {"\"timing_s/checkpoint_blocking\":", "\"timing_s/checkpoint\":"}) CHECK(test::contains(metrics, name));
  CHECK_FALSE(fs::exists(step_path(folder, 2) + ".tmp"));
  run_layout(folder, {2}, [](Member& m) { expect(m.session->first_step() == 5, "the last step"); });
}

TEST_CASE("a save that must be durable and is not ends the run on every rank, naming rank and cause", "[team_checkpoint]") {
  if (on_mpi()) return;
  const TempDir folder;
  run_layout(
      folder, {3},
      [](Member& m) {
        m.session->begin();
        m.session->end_early();
        const std::string fault = test::fault_of([&] { m.session->finish_step(0, {}, ""); });
        expect(test::contains(fault, "rank 1: ") && test::contains(fault, "File exists"), "rank and cause, found: " + fault);
      },
      obstructed_at(folder, 1));
  CHECK(fs::exists(step_path(folder, 0)));
  CHECK_FALSE(fs::exists(step_path(folder, 1)));
  CHECK_FALSE(fs::exists(step_path(folder, 1) + ".tmp"));
}

TEST_CASE("weights that are not finite on one rank alone are saved by none", "[team_checkpoint]") {
  if (on_mpi()) return;
  const TempDir folder;
  run_layout(folder, {3}, [](Member& m) {
    m.session->begin();
    if (m.team.index() == 2) m.model->parameters().values()[m.model->parameters().size() - 1] = std::nanf("");
    const std::string fault = test::fault_of([&] { m.session->finish_step(0, {}, ""); });
    expect(test::contains(fault, "weights are not finite"), "a fault on every rank, found: " + fault);
  });
  CHECK_FALSE(fs::exists(step_path(folder, 1)));
}

namespace {

/// Saves steps 0 to 3 on three ranks.
void save_four(const TempDir& folder) {
  run_layout(folder, {3, 1, "zero1"}, [](Member& m) {
    m.session->begin();
    fill(m);
    for (int step = 0; step < 2; ++step) m.session->finish_step(step, {}, "");
    save_one(m, 2);
  });
}

/// A rank whose view of the disk is worse than that of the others, `times` times.
class BadEyes final : public test::ForwardingTeam {
 public:
  BadEyes(Team& team, int times) : ForwardingTeam(team), left_(team.index() == 1 ? times : 0) {}
  std::vector<std::string> gather(const std::string& mine) override {
    return ForwardingTeam::gather(mine.starts_with('+') && left_-- > 0 ? "dshard_0_of_3.bin: read failed: Input/output error" : mine);
  }

 private:
  int left_;
};

}  // namespace

TEST_CASE("fault 19: damage that any rank meets makes all go back to the same older step, and sets the newer one aside",
          "[team_checkpoint]") {
  if (on_mpi()) return;
  const TempDir folder;
  save_four(folder);
  int64_t expected = 3;
  Disturb disturb;
  SECTION("a flipped byte in the last byte of a shard") {
    const std::string shard = step_path(folder, 3) + "/shard_2_of_3.bin";
    flip(shard, fs::file_size(shard) - 1);
    expected = 2;
  }
  SECTION("a shard is missing, and the step before has one too many") {
    fs::remove(step_path(folder, 3) + "/shard_1_of_3.bin");
    fs::copy(step_path(folder, 2) + "/shard_1_of_3.bin", step_path(folder, 2) + "/shard_3_of_4.bin");
    expected = 1;
  }
  SECTION("one rank alone cannot read it") {
    disturb = [](Team& team) { return std::make_unique<BadEyes>(team, 2); };
    expected = 1;
  }
  run_layout(
      folder, {2, 1, "zero1"},
      [&](Member& m) { expect(m.session->first_step() == expected, "all at one step, found " + std::to_string(m.session->first_step())); },
      disturb);
  for (int64_t step = 0; step <= 3; ++step) {
    CHECK(fs::exists(step_path(folder, step)) == (step <= expected));
    CHECK(fs::exists(step_path(folder, step) + ".damaged") == (step > expected));
  }
}

TEST_CASE("fault 20: LATEST may be empty, garbage or the name of nothing", "[team_checkpoint]") {
  if (on_mpi()) return;
  const TempDir folder;
  save_four(folder);
  for (const char* text : {"", "\x01\x02", "step_99\n"}) {
    std::ofstream(folder / "run/checkpoints/warm/LATEST") << text;
    run_layout(folder, {2}, [](Member& m) { expect(m.session->first_step() == 3, "the newest step"); });
  }
}

TEST_CASE("fault 21: a checkpoint of another model is refused on all ranks with both layouts", "[team_checkpoint]") {
  if (on_mpi()) return;
  const TempDir folder;
  save_four(folder);
  const Recipe other = recipe_in(folder, {2, 1, "none"}, "calibration_a");
  comm::run_on_threads(
      2,
      [&](comm::Communicator world) {
        roles::RankTeam team(world);
        std::string said;
        try {
          Member(other, team, true);
        } catch (const InputError& error) {
          said = error.what();
        }
        expect(test::contains(said, "step_3: tensor 'values/") && test::contains(said, "saved by: 3 ranks") &&
                   test::contains(said, "This run: 2 ranks"),
               "both layouts, found: " + said);
      },
      test::impatient());
  CHECK(fs::exists(step_path(folder, 3)));
}

TEST_CASE("the state is copied when a save begins: what is trained meanwhile does not change it", "[team_checkpoint]") {
  if (on_mpi()) return;
  const TempDir folder;
  const Recipe recipe = recipe_in(folder, {1});
  SoloTeam solo;
  at::Tensor numbers = pattern(0, 5'000'000, 1e-3);  // long enough to be still in flight
  const std::string here = folder / "c";
  TeamCheckpoint checkpoint(solo, here, "one", 2);
  TeamState state{{{"values", {{"x", {5'000'000}}}}}, {{0, 0, numbers}}, "bytes"};
  records::CheckpointManifest manifest;
  manifest.set_stage("s"), manifest.set_config_hash("h"), manifest.set_step(4);
  REQUIRE(checkpoint.begin(manifest, state).empty());
  numbers.zero_(), state.bytes = "other";
  const auto outcome = checkpoint.wait();
  REQUIRE(outcome);
  CHECK(outcome->problem.empty());
  CHECK_FALSE(checkpoint.poll());
  TeamState back{state.sections, {{0, 0, at::empty({5'000'000}, at::kFloat)}}, ""};
  REQUIRE(checkpoint.restore("s", "h", back));
  CHECK(at::equal(back.parts[0].values, pattern(0, 5'000'000, 1e-3)));
  CHECK(back.bytes == "bytes");
  {
    TeamCheckpoint left(solo, here, "one", 2);
    manifest.set_step(5);
    REQUIRE(left.begin(manifest, back).empty());
  }
  CHECK(train::steps_in(here) == std::vector<int64_t>{5, 4});  // a team of one needs nobody to finish
}

}  // namespace cohort::pipeline
