// The same small recipe on one process, on threads that pretend to be ranks and on the ranks of mpirun: the same bytes.
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/config/yaml_reader.h"
#include "core/pipeline/pipeline.h"
#include "core/pipeline/skipped_batch.h"
#include "core/train/checkpoint.h"
#include "distributed/comm/mpi_session.h"
#include "distributed/comm/thread_world.h"
#include "distributed/roles/rank_team.h"
#include "tests/distributed/worlds.h"
#include "tests/support/forwarding_team.h"

namespace cohort::pipeline {
namespace {

constexpr const char* kRecipe = R"(
model: {preset: deepseek_v3_tiny}
trainer: {save_freq: 3, micro_batch_size: 8}
eval: {data: {tasks: ["add:1"]}, questions: 8, rollout: {n: 1, max_response_length: 16}}
stages:
  - {name: base, type: pretrain, data: {tasks: ["add:1"]}, steps: 4, batch_size: 16}
  - name: zero
    type: rl
    from: base
    data: {tasks: ["add:1"]}
    rollout: {n: 4, max_response_length: 16}
    train_batch_size: 8
    ppo_mini_batch_size: 4
    steps: 3
    rewards: {accuracy: 1.0, format: 1.0, language: 1.0}
    algorithm: {filter_groups: {enable: true, max_num_gen_batches: 3}, use_kl_in_reward: true, adv_estimator: reinforce_plus_plus_baseline, use_kl_loss: true, ref_update_interval: 2}
)";

/// Each way to share or to save memory; none changes a bit.
using Settings = std::vector<std::string>;
const std::vector<Settings> kWays = {
    {},
    {"trainer.optimizer_sharding=zero1"},
    {"trainer.optimizer_sharding=zero1", "trainer.recompute=layer"},
    {"cluster.expert_parallel_size=2"},
    {"cluster.expert_parallel_size=2", "trainer.optimizer_sharding=zero1", "trainer.recompute=layer"},
    {"trainer.optimizer_sharding=zero1", "trainer.parameter_sharding=full"},
    {"cluster.expert_parallel_size=2", "trainer.optimizer_sharding=zero1", "trainer.parameter_sharding=full", "trainer.recompute=layer"}};
const Settings kFour = {"cluster.expert_parallel_size=4", "trainer.optimizer_sharding=zero1"};
const Settings kFourFull = {"cluster.expert_parallel_size=4", "trainer.optimizer_sharding=zero1", "trainer.parameter_sharding=full"};

std::vector<Settings> ways(int ranks) {
  std::vector<Settings> all = kWays;
  if (ranks == 4) all.insert(all.end(), {kFour, kFourFull});
  return all;
}

Recipe recipe_in(const std::filesystem::path& folder, Settings settings = {}) {
  settings.push_back("run.output=" + folder.string());
  return config::read_config_text<Recipe>(kRecipe, "recipe", settings);
}

roles::RankTeam team_of(comm::Communicator world, const Recipe& recipe) {
  return roles::RankTeam(world, static_cast<int>(recipe.cluster.rollout_ranks), recipe.cluster.expert_parallel_size);
}

std::string file(const std::filesystem::path& folder, const char* name) { return read_file((folder / name).string(), 1 << 26); }

/// metrics.jsonl without what depends on the clock and on the number of ranks.
std::vector<std::string> untimed(const std::string& lines) {
  std::vector<std::string> result;
  for (size_t from = 0; from < lines.size();) {
    const size_t end = lines.find('\n', from);
    nlohmann::json line = parse_json(lines.substr(from, end - from), "metrics");
    nlohmann::json kept;
    for (const auto& [name, value] : line.items())
      if (!name.starts_with("timing_s/") && !name.starts_with("perf/")) kept[name] = value;
    result.push_back(kept.dump());
    from = end + 1;
  }
  return result;
}

void check_same(const std::filesystem::path& one, const std::filesystem::path& other) {
  CHECK(file(one, "stages/base/model/model.safetensors") == file(other, "stages/base/model/model.safetensors"));
  CHECK(file(one, "stages/zero/model/model.safetensors") == file(other, "stages/zero/model/model.safetensors"));
  CHECK(file(one, "samples/zero.jsonl") == file(other, "samples/zero.jsonl"));
  CHECK(file(one, "samples/zero.jsonl").size() > 1000);
  CHECK(untimed(file(one, "metrics.jsonl")) == untimed(file(other, "metrics.jsonl")));
  CHECK(file(one, "stages/base/model/model.safetensors") != file(one, "stages/zero/model/model.safetensors"));  // something was learned
}

/// A folder that all ranks share and no other run of the tests has; removed at the end by rank 0. Collective.
struct Scratch {
  std::filesystem::path path;
  bool mine;
  Scratch(comm::Communicator world, const std::string& name)
      : path(std::filesystem::temp_directory_path() / (name + "." + world.broadcast("scratch", std::to_string(getpid())))),
        mine(world.rank() == 0) {}
  ~Scratch() {
    std::error_code ignored;
    if (mine) std::filesystem::remove_all(path, ignored);
  }
};

/// Some steps of the recipe; whether it is done.
bool run_some(const Recipe& recipe, Team& team, int steps) {
  test::StoppingTeam stopping(team, steps);
  try {
    run_recipe(recipe, stopping, {});
    return true;
  } catch (const Stopped&) {
    return false;
  }
}

/// Weights that are not finite any more, from the second step on.
const Settings kDiverging = {"stages.base.optim.lr=1000", "stages.base.optim.weight_decay=1000", "stages.base.optim.clip_grad=0",
                             "trainer.max_skipped_in_a_row=2"};

/// The recipe diverges and ends with a Fault.
void diverge(const std::filesystem::path& folder, Settings settings, comm::Communicator world) {
  settings.insert(settings.end(), kDiverging.begin(), kDiverging.end());
  const Recipe recipe = recipe_in(folder, settings);
  roles::RankTeam team = team_of(world, recipe);
  const std::string fault = test::fault_of([&] { run_recipe(recipe, team, {}); });
  test::expect(test::contains(fault, "optimizer steps in a row"), "a run that gives up, found: " + fault);
}

/// The batches that two diverging runs skipped are the same, with the same weights, and can be computed again.
void check_same_skipped(const std::filesystem::path& one, const std::filesystem::path& other) {
  for (const char* name : {"base_step_2", "base_step_3"}) {
    CAPTURE(name);
    const std::string dump = std::string("bad_batches/") + name;
    CHECK(file(one, (dump + ".safetensors").c_str()) == file(other, (dump + ".safetensors").c_str()));
    records::SkippedBatch wanted = read_skipped_batch((one / (dump + ".pb")).string());
    const std::string path = (other / (dump + ".pb")).string();
    records::SkippedBatch got = read_skipped_batch(path);
    CHECK(got.samples_size() == 16);
    const Replay again = replay(got, path);
    CHECK_FALSE(again.batch.finite());
    CHECK(again.samples.size() == 16);
    wanted.clear_recipe(), got.clear_recipe();
    CHECK(wanted.SerializeAsString() == got.SerializeAsString());
  }
}

/// How one run of the recipe is laid out; rollout_ranks > 0: placement split.
struct Leg {
  int ranks;
  Settings settings;
  int rollout_ranks = 0;

  Settings all_settings() const {
    Settings all = settings;
    if (rollout_ranks > 0) all.insert(all.end(), {"cluster.placement=split", "cluster.rollout_ranks=" + std::to_string(rollout_ranks)});
    return all;
  }
};
const std::vector<Leg> kSplits = {{2, kWays[0], 1}, {3, kWays[0], 2}, {3, kWays[0], 1}, {3, kWays[2], 1},
                                  {3, kWays[4], 1}, {3, kWays[5], 1}, {3, kWays[6], 1}};
/// Long answers are interrupted.
const Settings kPartial = {"stages.zero.rollout.partial_rollout_tokens=8",
                           "stages.zero.rollout.oversample=1.5",
                           "stages.zero.rollout.n=2",
                           "stages.zero.rollout.max_response_length=64",
                           "stages.zero.algorithm.filter_groups.max_num_gen_batches=12",
                           "stages.zero.steps=4"};
const std::vector<Leg> kRelay = {{2, kWays[1]}, {1, kWays[0]}, {3, kWays[1], 1}, {4, kWays[4]},    {1, kWays[2]},
                                 {8, kFour},    {2, kWays[3]}, {2, kWays[5]},    {3, kWays[6], 1}, {2, kWays[0], 1}};

}  // namespace

TEST_CASE("a recipe on 1, 2 and 4 ranks of one process gives the same bytes, however memory is shared", "[recipe]") {
  comm::Communicator world = comm::MpiSession::world();
  if (world.size() > 1) return;  // the MPI ranks have a case of their own
  Scratch scratch(world, "cohort_recipe_threads");
  SoloTeam solo;
  run_recipe(recipe_in(scratch.path / "solo"), solo, {});
  for (int ranks : {2, 4})
    for (size_t way = 0; way < ways(ranks).size(); ++way) {
      CAPTURE(ranks, way);
      const auto folder = scratch.path / (std::to_string(ranks) + "_" + std::to_string(way));
      const Recipe recipe = recipe_in(folder, ways(ranks)[way]);
      comm::run_on_threads(ranks, [&](comm::Communicator c) {
        roles::RankTeam team = team_of(c, recipe);
        run_recipe(recipe, team, {});
      });
      check_same(scratch.path / "solo", folder);
    }
}

TEST_CASE("ranks that only roll out or only train give the bytes of one process", "[recipe]") {
  comm::Communicator world = comm::MpiSession::world();
  if (world.size() > 1) return;
  Scratch scratch(world, "cohort_recipe_split");
  for (int staleness : {0, 1, 2}) {
    const auto here = scratch.path / std::to_string(staleness);
    const std::string stale = "cluster.max_staleness=" + std::to_string(staleness);
    SoloTeam solo;
    run_recipe(recipe_in(here / "solo", {stale}), solo, {});
    for (const Leg& leg : kSplits) {
      CAPTURE(staleness, leg.ranks, leg.rollout_ranks, leg.settings);
      const auto folder =
          here / (std::to_string(leg.ranks) + "_" + std::to_string(leg.rollout_ranks) + "_" + std::to_string(&leg - kSplits.data()));
      auto settings = leg.all_settings();
      settings.push_back(stale);
      const Recipe recipe = recipe_in(folder, settings);
      comm::run_on_threads(leg.ranks, [&](comm::Communicator c) {
        roles::RankTeam team = team_of(c, recipe);
        run_recipe(recipe, team, {});
      });
      check_same(here / "solo", folder);
    }
  }
  CHECK(file(scratch.path / "0/solo", "samples/zero.jsonl") != file(scratch.path / "1/solo", "samples/zero.jsonl"));
  CHECK(file(scratch.path / "1/solo", "samples/zero.jsonl") != file(scratch.path / "2/solo", "samples/zero.jsonl"));
}

TEST_CASE("who takes which group does not matter: dealing by free capacity gives the bytes of one process", "[recipe][dealing]") {
  comm::Communicator world = comm::MpiSession::world();
  if (world.size() > 1) return;
  Scratch scratch(world, "cohort_recipe_dealing");
  SoloTeam solo;
  run_recipe(recipe_in(scratch.path / "solo"), solo, {});
  for (const Settings& layout : {Settings{}, Settings{"cluster.placement=split", "cluster.rollout_ranks=2"}}) {
    const auto folder = scratch.path / std::to_string(layout.size());
    Settings settings = layout;
    settings.push_back("stages.zero.rollout.max_num_seqs=4");
    const Recipe recipe = recipe_in(folder, settings);
    control::TicketCounter tickets;
    comm::run_on_threads(4, [&](comm::Communicator c) {
      roles::RankTeam team = team_of(c, recipe);
      team.deal_by(&tickets);
      run_recipe(recipe, team, {});
    });
    check_same(scratch.path / "solo", folder);
  }
}

TEST_CASE("partial rollouts: any ranks, split or not, and any relay of them give the bytes of one process", "[recipe]") {
  comm::Communicator world = comm::MpiSession::world();
  if (world.size() > 1) return;
  Scratch scratch(world, "cohort_recipe_partial");
  for (int staleness : {1, 2}) {
    const auto here = scratch.path / std::to_string(staleness);
    const auto settings_of = [&](const Leg& leg) {
      auto settings = leg.all_settings();
      settings.insert(settings.end(), kPartial.begin(), kPartial.end());
      settings.push_back("cluster.max_staleness=" + std::to_string(staleness));
      return settings;
    };
    SoloTeam solo;
    run_recipe(recipe_in(here / "solo", settings_of({1, {}})), solo, {});
    CHECK(file(here / "solo", "samples/zero.jsonl").find("policy_versions") != std::string::npos);
    const std::vector<Leg> legs = {{2, kWays[0]},    {4, kWays[1]}, {2, kWays[0], 1}, {3, kWays[0], 2},
                                   {3, kWays[1], 1}, {2, kWays[5]}, {3, kWays[6], 1}};
    for (const Leg& leg : legs) {
      CAPTURE(staleness, leg.ranks, leg.rollout_ranks);
      const auto folder = here / std::to_string(&leg - legs.data());
      const Recipe recipe = recipe_in(folder, settings_of(leg));
      comm::run_on_threads(leg.ranks, [&](comm::Communicator c) {
        roles::RankTeam team = team_of(c, recipe);
        run_recipe(recipe, team, {});
      });
      check_same(here / "solo", folder);
    }
    bool done = false;
    for (size_t i = 0; !done; ++i) {  // one step in each layout
      REQUIRE(i < 20);
      const Leg& leg = legs[i % legs.size()];
      const Recipe recipe = recipe_in(here / "relay", settings_of(leg));
      comm::run_on_threads(leg.ranks, [&](comm::Communicator c) {
        roles::RankTeam team = team_of(c, recipe);
        const bool finished = run_some(recipe, team, 1);
        if (c.rank() == 0) done = finished;
      });
    }
    check_same(here / "solo", here / "relay");
  }
}

TEST_CASE("checkpoints go from layout to layout: a relay of ranks and ways ends with the bytes of one undisturbed process", "[recipe]") {
  comm::Communicator world = comm::MpiSession::world();
  if (world.size() > 1) return;
  Scratch scratch(world, "cohort_recipe_relay");
  const auto relay = scratch.path / "relay", alone = scratch.path / "solo";
  const auto for_eight = [](Settings settings) {
    settings.push_back("trainer.reduction_slots=8");
    return settings;
  };
  SoloTeam solo;
  size_t legs = 0;
  for (bool done = false; !done; ++legs) {
    REQUIRE(legs < 20);
    const Leg& leg = kRelay[legs % kRelay.size()];
    comm::run_on_threads(leg.ranks, [&](comm::Communicator c) {
      const Recipe recipe = recipe_in(relay, for_eight(leg.all_settings()));
      roles::RankTeam team = team_of(c, recipe);
      const bool finished = run_some(recipe, team, legs == 0 ? 2 : 1);
      if (c.rank() == 0) done = finished;
    });
    if (legs > 0) continue;
    // The first leg's state is that of one process without sharding, tensor for tensor.
    CHECK_FALSE(run_some(recipe_in(alone, for_eight({})), solo, 2));
    const auto hashes = [](const std::filesystem::path& run) {
      return train::SavedStep((run / "checkpoints/base/step_2").string()).tensor_hashes();
    };
    CHECK(hashes(relay) == hashes(alone));
    std::filesystem::remove_all(alone);
  }
  CHECK(legs > 5);  // the eight ranks had a leg
  run_recipe(recipe_in(alone, for_eight({})), solo, {});
  check_same(alone, relay);
}

TEST_CASE("a step that is not finite is skipped and kept by ranks with a slice of the weights each as by one process", "[recipe]") {
  comm::Communicator world = comm::MpiSession::world();
  if (world.size() > 1) return;
  Scratch scratch(world, "cohort_recipe_skipped");
  diverge(scratch.path / "solo", {}, world);
  for (size_t way : {5, 6}) {
    CAPTURE(way);
    const auto folder = scratch.path / std::to_string(way);
    comm::run_on_threads(2, [&](comm::Communicator c) { diverge(folder, kWays[way], c); });
    check_same_skipped(scratch.path / "solo", folder);
  }
}

TEST_CASE("a recipe on the ranks of mpirun keeps a step that is not finite as one process does") {
  comm::Communicator world = comm::MpiSession::world();
  if (world.size() == 1) return;
  Scratch scratch(world, "cohort_recipe_skipped_mpi");
  world.barrier("skipped test folder");
  diverge(scratch.path / "ranks", kWays[5], world);
  if (world.rank() == 0) {
    diverge(scratch.path / "solo", {}, comm::Communicator::self());
    check_same_skipped(scratch.path / "solo", scratch.path / "ranks");
  }
  world.barrier("skipped test done");
}

TEST_CASE("a recipe on the ranks of mpirun gives the bytes of one process, however memory and work are shared") {
  comm::Communicator world = comm::MpiSession::world();
  if (world.size() == 1) return;
  Scratch scratch(world, "cohort_recipe_mpi");
  world.barrier("recipe test folder");
  std::vector<Settings> all = ways(world.size());
  all.push_back(Leg{world.size(), kWays[1], world.size() / 2}.all_settings());  // 2 ranks: 1 trains; 4 ranks: 2 train
  all.push_back(Leg{world.size(), kWays[5], world.size() / 2}.all_settings());
  for (size_t way = 0; way < all.size(); ++way) {
    const Recipe recipe = recipe_in(scratch.path / std::to_string(way), all[way]);
    roles::RankTeam team = team_of(world, recipe);
    run_recipe(recipe, team, {});
  }
  // Two steps in one layout, the rest in another, under MPI as on threads.
  const Recipe first_leg = recipe_in(scratch.path / "relay", kWays[4]);
  roles::RankTeam first_team = team_of(world, first_leg), last_team(world);
  CHECK_FALSE(run_some(first_leg, first_team, 2));
  if (world.rank() == 0) {
    SoloTeam solo;
    CHECK_FALSE(run_some(recipe_in(scratch.path / "relay"), solo, 2));
    run_recipe(recipe_in(scratch.path / "solo"), solo, {});
  }
  world.barrier("relay handed on");
  Settings partial = kPartial;
  partial.push_back("cluster.max_staleness=2");
  const Recipe in_parts = recipe_in(scratch.path / "partial", partial);
  roles::RankTeam parts_team = team_of(world, in_parts);
  run_recipe(in_parts, parts_team, {});
  Settings split_settings = Leg{world.size(), {}, world.size() / 2}.all_settings();
  split_settings.insert(split_settings.end(), partial.begin(), partial.end());
  const Recipe split_parts = recipe_in(scratch.path / "partial_split", split_settings);
  roles::RankTeam split_team = team_of(world, split_parts);
  run_recipe(split_parts, split_team, {});
  if (world.rank() == 0) {
    SoloTeam solo;
    run_recipe(recipe_in(scratch.path / "partial_solo", partial), solo, {});
    check_same(scratch.path / "partial_solo", scratch.path / "partial");
    check_same(scratch.path / "partial_solo", scratch.path / "partial_split");
  }
  world.barrier("partial rollouts done");
  run_recipe(recipe_in(scratch.path / "relay", kWays[1]), last_team, {});
  if (world.rank() == 0) {
    check_same(scratch.path / "solo", scratch.path / "relay");
    for (size_t way = 0; way < all.size(); ++way) {
      CAPTURE(way);
      check_same(scratch.path / "solo", scratch.path / std::to_string(way));
    }
  }
  world.barrier("recipe test done");
}

}  // namespace cohort::pipeline
