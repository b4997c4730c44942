// Checkpoints that many ranks write and others read: any layout to any other, and what happens when one rank cannot write or read. The
// numbers of faults are those of the table in tests/README.md.
#include <ATen/ATen.h>
#include <google/protobuf/util/json_util.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <set>
#include <thread>

#include "core/base/file.h"
#include "core/base/hash.h"
#include "core/base/stopwatch.h"
#include "core/config/yaml_reader.h"
#include "core/pipeline/training_session.h"
#include "distributed/comm/thread_world.h"
#include "distributed/roles/rank_team.h"
#include "tests/core/base/temp_dir.h"
#include "tests/distributed/worlds.h"
#include "tests/support/forwarding_team.h"

// A disk that has troubles: these stand in for the C library's calls in this program.
namespace {
constexpr int kNever = std::numeric_limits<int>::max();
std::atomic<int> fsyncs_until_it_hangs = kNever;  // for half a minute, or until this is set to kNever again
thread_local int read_error = 0, rename_error = 0;

bool fails_with(int error) {
  if (error != 0) errno = error;
  return error != 0;
}
}  // namespace

extern "C" int troubled_fsync(int file) __asm__("fsync");
extern "C" int troubled_fsync(int file) {
  if (fsyncs_until_it_hangs != kNever && fsyncs_until_it_hangs-- <= 0)
    for (int i = 0; i < 3000 && fsyncs_until_it_hangs != kNever; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return static_cast<int>(syscall(SYS_fsync, file));
}

extern "C" ssize_t troubled_pread(int file, void* out, size_t count, off_t offset) __asm__("pread");
extern "C" ssize_t troubled_pread(int file, void* out, size_t count, off_t offset) {
  return fails_with(read_error) ? -1 : syscall(SYS_pread64, file, out, count, offset);
}

extern "C" int troubled_rename(const char* from, const char* to) __asm__("rename");
extern "C" int troubled_rename(const char* from, const char* to) {
  return fails_with(rename_error) ? -1 : static_cast<int>(syscall(SYS_rename, from, to));
}

namespace cohort::pipeline {
namespace {

namespace fs = std::filesystem;
using test::expect;

struct Layout {
  int ranks;
  int experts = 1;
  const char* sharding = "none";
  int rollout_ranks = 0;
  const char* parameters = "none";
};

Recipe recipe_in(const TempDir& folder, const Layout& layout, const char* preset = "deepseek_v3_tiny", const char* resume = "auto") {
  std::vector<std::string> settings = {"run.output=" + folder / "run",
                                       std::string("model.preset=") + preset,
                                       "cluster.expert_parallel_size=" + std::to_string(layout.experts),
                                       std::string("trainer.optimizer_sharding=") + layout.sharding,
                                       std::string("trainer.parameter_sharding=") + layout.parameters,
                                       std::string("trainer.resume_mode=") + resume};
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

/// Numbers [first, second) of a model's parameters, which are those that this member holds.
struct Held {
  int64_t first, second;
  at::Tensor of(const model::CausalLM& model) const { return model.parameters().values().slice(0, first, second); }
};

Held held(Member& m) {
  const int64_t size = m.model->parameters().size();
  if (!m.model->sharded()) return {0, size};
  const auto [first, second] = m.team.trainers()->slice(size);
  return {first, second};
}

void fill(Member& m) {
  const Held mine = held(m);
  mine.of(*m.model).copy_(pattern(mine.first, mine.second - mine.first, 1e-6));
  const auto [begin, end] = m.session->optimizer().range();
  m.session->optimizer().first_moment().copy_(pattern(begin, end - begin, 1e-7));
  m.session->optimizer().second_moment().copy_(pattern(begin, end - begin, 1e-8));
  m.session->optimizer().set_steps(7);
  for (const at::Tensor& bias : m.model->router_biases()) bias.copy_(pattern(3, bias.numel(), 1e-3));
  if (m.reference) mine.of(*m.reference).copy_(pattern(mine.first, mine.second - mine.first, 1e-5));
}

void expect_filled(Member& m) {
  const Held mine = held(m);
  const int64_t count = mine.second - mine.first;
  expect(at::equal(mine.of(*m.model), pattern(mine.first, count, 1e-6)), "the values that were saved");
  const auto [begin, end] = m.session->optimizer().range();
  expect(at::equal(m.session->optimizer().first_moment(), pattern(begin, end - begin, 1e-7)), "the first moments that were saved");
  expect(at::equal(m.session->optimizer().second_moment(), pattern(begin, end - begin, 1e-8)), "the second moments that were saved");
  expect(m.session->optimizer().steps() == 7, "the optimizer's steps");
  for (const at::Tensor& bias : m.model->router_biases()) expect(at::equal(bias, pattern(3, bias.numel(), 1e-3)), "the router biases");
  if (m.reference) expect(at::equal(mine.of(*m.reference), pattern(mine.first, count, 1e-5)), "the reference that was saved");
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
  const std::vector<Layout> layouts = {{4, 2, "zero1"},
                                       {1},
                                       {2},
                                       {2, 2},
                                       {8, 4},
                                       {8, 4, "zero1"},
                                       {4, 1, "zero1", 1, "full"},
                                       {3, 1, "zero1", 1},
                                       {5, 2, "none", 1},
                                       {4, 2, "zero1", 0, "full"},
                                       {2, 1, "zero1", 0, "full"},
                                       {3},
                                       {7, 1, "zero1"},
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
      const bool divides = m.team.trainers() != nullptr && std::string(layouts[leg].parameters) == "full";
      expect(m.model->sharded() == divides && (!m.reference || m.reference->sharded() == divides), "parameters divided as asked for");
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

/// Changes the manifest of a step, with its right hash.
void forge(const std::string& step, const std::function<void(records::CheckpointManifest&)>& change) {
  records::CheckpointManifest manifest;
  REQUIRE(google::protobuf::util::JsonStringToMessage(read_file(step + "/manifest.json", 1 << 26), &manifest).ok());
  change(manifest);
  std::string json;
  REQUIRE(google::protobuf::util::MessageToJsonString(manifest, &json).ok());
  std::ofstream(step + "/manifest.json") << json;
  std::ofstream(step + "/manifest.xxh3") << xxh3_128_hex(json) << "\n";
}

/// Begins a session on each of two ranks; `said` of what it throws on each. `prepare` is called on the rank's thread.
template <class Error>
void expect_refused(
    const Recipe& recipe, const std::function<bool(const std::string&)>& said, const std::function<void(Team&)>& prepare = [](Team&) {}) {
  comm::run_on_threads(
      2,
      [&](comm::Communicator world) {
        roles::RankTeam team(world);
        prepare(team);
        std::string words;
        try {
          Member(recipe, team, true);
        } catch (const Error& error) {
          words = error.what();
        }
        read_error = 0;
        expect(said(words), "the reason on every rank, found: " + words);
      },
      test::impatient());
}

}  // namespace

TEST_CASE("fault 19: damage that any rank meets makes all go back to the same older step, and sets the newer one aside",
          "[team_checkpoint]") {
  if (on_mpi()) return;
  const TempDir folder;
  save_four(folder);
  int64_t expected = 3;
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
  run_layout(folder, {2, 1, "zero1"}, [&](Member& m) {
    expect(m.session->first_step() == expected, "all at one step, found " + std::to_string(m.session->first_step()));
  });
  for (int64_t step = 0; step <= 3; ++step) {
    CHECK(fs::exists(step_path(folder, step)) == (step <= expected));
    CHECK(fs::exists(step_path(folder, step) + ".damaged") == (step > expected));
  }
}

TEST_CASE("a rank that cannot read for a moment says nothing of the checkpoint: all end, and nothing is removed or renamed",
          "[team_checkpoint]") {
  if (on_mpi()) return;
  const TempDir folder;
  save_four(folder);
  int rank = 0;
  SECTION("the leader") {}
  SECTION("another one") { rank = 1; }
  expect_refused<Fault>(
      recipe_in(folder, {2}),
      [&](const std::string& words) {
        return test::contains(words, "step_3: rank " + std::to_string(rank) + " could not read it: ") &&
               test::contains(words, "Input/output error");
      },
      [&](Team& team) { read_error = team.index() == rank ? EIO : 0; });
  for (int64_t step = 0; step <= 3; ++step) CHECK(fs::exists(step_path(folder, step)));
  run_layout(folder, {2}, [](Member& m) { expect(m.session->first_step() == 3, "the newest step, once it can be read"); });
}

TEST_CASE("when every step is damaged the stage does not start again by itself, and nothing is removed", "[team_checkpoint]") {
  if (on_mpi()) return;
  const TempDir folder;
  save_four(folder);
  for (int64_t step = 0; step <= 3; ++step) flip(step_path(folder, step) + "/shard_0_of_3.bin", 100);
  expect_refused<InputError>(recipe_in(folder, {2}), [&](const std::string& words) {
    return test::contains(words, folder / "run/checkpoints/warm: ") &&
           test::contains(words, "step_3, step_2, step_1, step_0. Nothing was") && test::contains(words, "trainer.resume_mode=disable") &&
           test::contains(words, "--fresh");
  });
  for (int64_t step = 0; step <= 3; ++step) CHECK(fs::exists(step_path(folder, step)));
  const Recipe again = recipe_in(folder, {1}, "deepseek_v3_tiny", "disable");  // what the message proposes
  SoloTeam solo;
  Member(again, solo, false).session->begin();
  CHECK(train::steps_in(folder / "run/checkpoints/warm") == std::vector<int64_t>{0});
}

TEST_CASE("a manifest with counters that cannot be is damaged", "[team_checkpoint]") {
  if (on_mpi()) return;
  const TempDir folder;
  save_four(folder);
  std::string path = step_path(folder, 3);
  int64_t step = 3;
  SECTION("optimizer_steps") {
    forge(path, [](auto& m) { m.set_optimizer_steps(101); });
  }
  SECTION("optimizer_steps that wrap around") {
    forge(path, [](auto& m) { m.set_optimizer_steps(~uint64_t{0}); });
  }
  SECTION("question_cursor") {
    forge(path, [](auto& m) { m.set_question_cursor(uint64_t{1} << 62); });
  }
  SECTION("tokens") {
    forge(path, [](auto& m) { m.set_tokens(uint64_t{1} << 62); });
  }
  SECTION("seconds") {
    forge(path, [](auto& m) { m.set_seconds(std::nan("")); });
  }
  SECTION("step") {
    fs::rename(path, step_path(folder, 101));
    path = step_path(folder, 101), step = 101;
    forge(path, [](auto& m) { m.set_step(101); });
  }
  run_layout(folder, {2},
             [](Member& m) { expect(m.session->first_step() == 2, "step 2, found " + std::to_string(m.session->first_step())); });
  CHECK(fs::exists(step_path(folder, step) + ".damaged"));
}

TEST_CASE("counters at their limits are taken", "[team_checkpoint]") {
  if (on_mpi()) return;
  const TempDir folder;
  save_four(folder);
  forge(step_path(folder, 3),
        [](auto& m) { m.set_optimizer_steps(100), m.set_question_cursor((uint64_t{1} << 62) - 1), m.set_tokens((uint64_t{1} << 62) - 1); });
  run_layout(folder, {2},
             [](Member& m) { expect(m.session->first_step() == 3, "step 3, found " + std::to_string(m.session->first_step())); });
}

TEST_CASE("a damaged step that the leader cannot set aside does not end the run", "[team_checkpoint]") {
  if (on_mpi()) return;
  const TempDir folder;
  save_four(folder);
  flip(step_path(folder, 3) + "/shard_0_of_3.bin", 100);
  run_layout(
      folder, {2},
      [&](Member& m) {
        rename_error = 0;
        expect(m.session->first_step() == 2, "step 2, found " + std::to_string(m.session->first_step()));
        expect(fs::exists(step_path(folder, 3)), "the damaged step where it was");
        save_one(m, 2);
      },
      [](Team& team) {
        rename_error = team.leads() ? EIO : 0;
        return nullptr;
      });
  run_layout(folder, {2}, [](Member& m) { expect(m.session->first_step() == 3, "the step that was saved over it"); });
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

TEST_CASE("a rank that fails while a save is in flight does not wait for a disk that hangs, and nothing is committed",
          "[team_checkpoint]") {
  if (on_mpi()) return;
  const TempDir folder;
  const std::string here = folder / "c";
  const Section section{"values", {{"x", {300}}}};
  const auto save = [&](comm::Communicator world, uint64_t step, const std::function<void(Team&, TeamCheckpoint&)>& then) {
    roles::RankTeam team(world);
    TeamCheckpoint checkpoint(team, here, "three", 9);
    const auto [begin, end] = team.slice(300);
    records::CheckpointManifest manifest;
    manifest.set_stage("s"), manifest.set_config_hash("h"), manifest.set_step(step);
    expect(checkpoint.begin(manifest, {{section}, {{0, begin, pattern(begin, end - begin, 1.0)}}, ""}).empty(), "a save that begins");
    then(team, checkpoint);
  };
  const auto finish = [](Team&, TeamCheckpoint& checkpoint) { expect(checkpoint.wait()->problem.empty(), "a save that succeeds"); };
  comm::run_on_threads(
      3, [&](comm::Communicator world) { save(world, 1, finish); }, test::impatient());

  std::string last = "shard_1_of_3.bin";
  SECTION("while shards are written") { fsyncs_until_it_hangs = 0; }
  SECTION("while the leader commits") { fsyncs_until_it_hangs = 3, last = "manifest.json"; }
  const Stopwatch clock;
  const auto broken = [&](Team& team, TeamCheckpoint& checkpoint) {
    while (!checkpoint.poll()) {
      if (team.index() == 1 && fs::exists(here + "/step_2.tmp/" + last)) throw Fault("this rank is broken");
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  };
  CHECK_THROWS_WITH(comm::run_on_threads(
                        3, [&](comm::Communicator world) { save(world, 2, broken); }, test::impatient()),
                    "this rank is broken");
  CHECK(clock.seconds() < 10.0);
  CHECK(train::steps_in(here) == std::vector<int64_t>{1});
  CHECK(fs::exists(here + "/step_2.tmp"));
  fsyncs_until_it_hangs = kNever;
  if (last == "manifest.json") {  // here the process lives on, and so the commit that was let go of
    for (int i = 0; i < 1000 && train::latest_problem(here) + read_file(here + "/LATEST", 64) != "step_2\n"; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
  } else {
    comm::run_on_threads(
        3, [&](comm::Communicator world) { save(world, 2, finish); }, test::impatient());
  }
  CHECK(train::steps_in(here) == std::vector<int64_t>{2, 1});
  CHECK_FALSE(fs::exists(here + "/step_2.tmp"));
}

}  // namespace cohort::pipeline
