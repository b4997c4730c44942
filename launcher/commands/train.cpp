// cohort train: runs a recipe.

#include <fmt/core.h>

#include <memory>

#include "core/base/log.h"
#include "core/base/signals.h"
#include "core/base/text_util.h"
#include "core/pipeline/pipeline.h"
#include "distributed/roles/rank_team.h"
#include "distributed/roles/role.h"
#include "launcher/commands/command.h"
#include "launcher/process_setup.h"
#include "launcher/run_config.h"

namespace cohort::launcher {
namespace {

struct TrainOptions {
  std::string config;
  std::vector<std::string> settings;
  pipeline::RunOptions run;
};

void check_from_stage(const pipeline::Recipe& recipe, const std::string& name) {
  if (name.empty() || pipeline::find_stage(recipe, name) != nullptr) return;
  std::vector<std::string> names;
  for (const pipeline::StageConfig& stage : recipe.stages) names.push_back(stage.name);
  const std::string near = nearest_name(name, names);
  throw SharedInputError("command line: --from-stage: expected one of " + join(names) +
                         (near.empty() ? "" : " (did you mean '" + near + "'?)") + ", found \"" + printable(name) + "\"");
}

void log_roles(const comm::Communicator& world, int rollout_ranks, int threads) {
  std::vector<std::string> hosts;
  for (int rank = 0; rank < world.size(); ++rank) hosts.push_back(world.host(rank));
  for (const std::string& line : roles::describe_ranks(hosts, rollout_ranks)) log_info("{}", line);
  log_info("{} thread{} per rank", threads, threads == 1 ? "" : "s");
}

int train(const TrainOptions& options, comm::Communicator& world) {
  const pipeline::Recipe recipe = load_recipe(options.config, options.settings, world.size(), world);
  check_from_stage(recipe, options.run.from_stage);
  install_stop_signals();
  init_log(recipe.run.output, world.rank(), world.size());
  world.set_deadline(recipe.cluster.deadline_s);
  const int rollout_ranks = static_cast<int>(recipe.cluster.rollout_ranks);
  log_roles(world, rollout_ranks, share_cores(world));
  roles::RankTeam team(world, rollout_ranks);
  pipeline::run_recipe(recipe, team, options.run);
  if (world.rank() == 0) fmt::print("\n{}", pipeline::stage_table(recipe));
  return kExitDone;
}

}  // namespace

void add_train(CLI::App& program, Action& action) {
  auto options = std::make_shared<TrainOptions>();
  CLI::App* command = program.add_subcommand("train", "Run a recipe; started again, it goes on where it stopped");
  command->add_option("config", options->config, "the recipe, a YAML file")->required();
  command->add_option("settings", options->settings, "key.path=value, in place of what the file says");
  command->add_option("--from-stage", options->run.from_stage, "run this stage and all later ones again, finished or not");
  command->add_flag("--fresh", options->run.fresh, "run every stage again");
  command->footer(
      "Examples:\n"
      "  cohort train configs/smoke.yaml run.output=runs/first\n"
      "  mpirun -n 4 cohort train configs/r1_mini.yaml run.seed=18 --from-stage reasoning\n"
      "SIGTERM, SIGINT and SIGUSR1 save a checkpoint and end the run with exit code 75.");
  command->callback([options, &action] { action = [options](comm::Communicator& world) { return train(*options, world); }; });
}

}  // namespace cohort::launcher
