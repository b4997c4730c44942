// A recipe on threads as ranks, for scripts/layout_check.py --threads. Not a test by itself: hidden.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include "core/config/yaml_reader.h"
#include "core/pipeline/pipeline.h"
#include "distributed/comm/thread_world.h"
#include "distributed/roles/rank_team.h"

namespace cohort::pipeline {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) FAIL(std::string(name) + " is not set: scripts/layout_check.py --threads does");
  return value;
}

}  // namespace

TEST_CASE("a recipe given by the environment runs on threads", "[.layout_run]") {
  const std::string config = variable("COHORT_LAYOUT_CONFIG");
  std::istringstream lines(variable("COHORT_LAYOUT_SETTINGS"));  // one key=value a line
  std::vector<std::string> settings;
  for (std::string line; std::getline(lines, line);) settings.push_back(line);
  const auto recipe = config::read_config<Recipe>(config, settings);
  comm::run_on_threads(std::stoi(variable("COHORT_LAYOUT_RANKS")), [&](comm::Communicator world) {
    roles::RankTeam team(world, static_cast<int>(recipe.cluster.rollout_ranks), recipe.cluster.expert_parallel_size);
    run_recipe(recipe, team, {});
  });
}

}  // namespace cohort::pipeline
