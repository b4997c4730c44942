// The same small recipe on one process, on threads that pretend to be ranks and on the ranks of mpirun: the same bytes.
#include <catch2/catch.hpp>
#include <filesystem>
#include <string>

#include "core/base/file.h"
#include "core/config/yaml_reader.h"
#include "core/pipeline/pipeline.h"
#include "distributed/comm/mpi_session.h"
#include "distributed/comm/thread_world.h"
#include "distributed/roles/rank_team.h"

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

Recipe recipe_in(const std::filesystem::path& folder, std::vector<std::string> settings = {}) {
  settings.push_back("run.output=" + folder.string());
  return config::read_config_text<Recipe>(kRecipe, "recipe", settings);
}

std::string file(const std::filesystem::path& folder, const char* name) { return read_file((folder / name).string(), 1 << 26); }

void check_same(const std::filesystem::path& one, const std::filesystem::path& other) {
  CHECK(file(one, "stages/base/model/model.safetensors") == file(other, "stages/base/model/model.safetensors"));
  CHECK(file(one, "stages/zero/model/model.safetensors") == file(other, "stages/zero/model/model.safetensors"));
  CHECK(file(one, "samples/zero.jsonl") == file(other, "samples/zero.jsonl"));
  CHECK(file(one, "samples/zero.jsonl").size() > 1000);
  CHECK(file(one, "stages/base/model/model.safetensors") != file(one, "stages/zero/model/model.safetensors"));  // something was learned
}

/// A folder of its own, made new and removed at the end by one process.
struct Scratch {
  std::filesystem::path path;
  bool mine;
  Scratch(const std::string& name, bool is_mine) : path(std::filesystem::temp_directory_path() / name), mine(is_mine) {
    if (mine) std::filesystem::remove_all(path);
  }
  ~Scratch() {
    std::error_code ignored;
    if (mine) std::filesystem::remove_all(path, ignored);
  }
};

}  // namespace

TEST_CASE("a recipe on 1, 2 and 4 ranks of one process gives the same bytes", "[recipe]") {
  comm::Communicator world = comm::MpiSession::world();
  if (world.size() > 1) return;  // the MPI ranks have a case of their own
  Scratch scratch("cohort_recipe_threads", true);
  SoloTeam solo;
  run_recipe(recipe_in(scratch.path / "solo"), solo, {});
  for (int ranks : {2, 4}) {
    const auto folder = scratch.path / std::to_string(ranks);
    comm::run_on_threads(ranks, [&](comm::Communicator c) {
      roles::RankTeam team(c);
      run_recipe(recipe_in(folder), team, {});
    });
    check_same(scratch.path / "solo", folder);
  }
}

TEST_CASE("ranks that only roll out or only train give the bytes of one process", "[recipe]") {
  if (comm::MpiSession::world().size() > 1) return;
  Scratch scratch("cohort_recipe_split", true);
  for (int staleness : {0, 1, 2}) {
    const auto here = scratch.path / std::to_string(staleness);
    const std::vector<std::string> stale = {"cluster.max_staleness=" + std::to_string(staleness)};
    SoloTeam solo;
    run_recipe(recipe_in(here / "solo", stale), solo, {});
    for (const auto& [ranks, rollout_ranks] : {std::pair(2, 1), std::pair(3, 2), std::pair(3, 1)}) {
      const auto folder = here / (std::to_string(ranks) + "_" + std::to_string(rollout_ranks));
      auto settings = stale;
      settings.insert(settings.end(), {"cluster.placement=split", "cluster.rollout_ranks=" + std::to_string(rollout_ranks)});
      comm::run_on_threads(ranks, [&](comm::Communicator c) {
        roles::RankTeam team(c, rollout_ranks);
        run_recipe(recipe_in(folder, settings), team, {});
      });
      check_same(here / "solo", folder);
    }
  }
  CHECK(file(scratch.path / "0/solo", "samples/zero.jsonl") != file(scratch.path / "1/solo", "samples/zero.jsonl"));
  CHECK(file(scratch.path / "1/solo", "samples/zero.jsonl") != file(scratch.path / "2/solo", "samples/zero.jsonl"));
}

TEST_CASE("a recipe on the ranks of mpirun gives the bytes of one process", "[recipe]") {
  comm::Communicator world = comm::MpiSession::world();
  if (world.size() == 1) return;
  Scratch scratch("cohort_recipe_mpi_" + std::to_string(world.size()), world.rank() == 0);
  world.barrier("recipe test folder");
  roles::RankTeam team(world);
  run_recipe(recipe_in(scratch.path / "ranks"), team, {});
  const int rollout_ranks = world.size() / 2;  // 2 ranks: 1 trains; 4 ranks: 2 train
  roles::RankTeam split(world, rollout_ranks);
  const std::vector<std::string> settings = {"cluster.placement=split", "cluster.rollout_ranks=" + std::to_string(rollout_ranks)};
  run_recipe(recipe_in(scratch.path / "split", settings), split, {});
  if (world.rank() == 0) {
    SoloTeam solo;
    run_recipe(recipe_in(scratch.path / "solo"), solo, {});
    check_same(scratch.path / "solo", scratch.path / "ranks");
    check_same(scratch.path / "solo", scratch.path / "split");
  }
  world.barrier("recipe test done");
}

}  // namespace cohort::pipeline
