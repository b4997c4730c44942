// cohort train: runs a recipe.

#include <fmt/core.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <optional>

#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/signals.h"
#include "core/base/text_util.h"
#include "core/base/walltime.h"
#include "core/pipeline/pipeline.h"
#include "distributed/control/channel.h"
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

/// Which rank is where, as what, on what. Collective.
void log_roles(comm::Communicator& world, int rollout_ranks, int threads) {
  std::vector<std::string> hosts;
  for (int rank = 0; rank < world.size(); ++rank) hosts.push_back(world.host(rank));
  const auto places = world.all_gather("places", fmt::format("pid {}, CPU, {} thread{}", getpid(), threads, threads == 1 ? "" : "s"));
  const auto lines = roles::describe_ranks(hosts, rollout_ranks);
  for (size_t rank = 0; rank < lines.size(); ++rank) log_info("{} {}", lines[rank], places[rank]);
}

/// The leader's hold on the run folder, taken before anything is written there. Collective: where another job has it, all ranks refuse.
std::unique_ptr<RunLock> hold_run_folder(const std::string& folder, comm::Communicator& world) {
  std::unique_ptr<RunLock> lock;
  std::string problem;
  if (world.rank() == 0) {
    try {
      pipeline::require_own_folder(folder);
      make_directories(folder);
      lock = std::make_unique<RunLock>(folder + "/lock");
    } catch (const InputError& error) {
      problem = error.what();
    }
  }
  problem = world.broadcast("run folder", std::move(problem));
  if (!problem.empty()) throw SharedInputError(problem);
  return lock;
}

/// Null where nobody watches. Collective.
std::unique_ptr<control::Channel> watch_ranks(double timeout_s, comm::Communicator& world) {
  if (timeout_s == 0.0 || world.size() == 1) return nullptr;
  control::ChannelOptions options;
  options.timeout_s = timeout_s;
  return std::make_unique<control::Channel>(world, std::move(options));
}

void watch_walltime(const pipeline::RunSection& run, std::optional<double> left) {
  if (!left) return;
  stop_within(*left - run.walltime_margin_s);
  log_info("walltime: {:.0f} s are left; the run saves and stops {:.0f} s before", *left, run.walltime_margin_s);
  if (*left <= run.walltime_margin_s)
    log_warn("run.walltime_margin_s: expected less than the {:.0f} s left, so this run stops after one step", *left);
}

int train(const TrainOptions& options, comm::Communicator& world) {
  const pipeline::Recipe recipe = load_recipe(options.config, options.settings, world.size(), world);
  check_from_stage(recipe, options.run.from_stage);
  const std::optional<double> walltime = seconds_to_walltime(std::getenv("SLURM_JOB_END_TIME"), unix_seconds(), recipe.run.walltime_s);
  install_stop_signals();
  const std::unique_ptr<RunLock> lock = hold_run_folder(recipe.run.output, world);
  init_log(recipe.run.output, world.rank(), world.size());
  world.set_deadline(recipe.cluster.deadline_s);
  const auto channel = watch_ranks(recipe.cluster.heartbeat_timeout_s, world);
  const int rollout_ranks = static_cast<int>(recipe.cluster.rollout_ranks);
  log_roles(world, rollout_ranks, share_cores(world));
  watch_walltime(recipe.run, walltime);
  roles::RankTeam team(world, rollout_ranks, recipe.cluster.expert_parallel_size);
  if (channel && channel->complete()) team.deal_by(channel.get());
  pipeline::run_recipe(recipe, team, options.run);
  world.barrier("end of the run");  // nobody stops watching while another still works
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
      "SIGTERM, SIGINT, SIGUSR1 and the end of the walltime save a checkpoint and end the run with exit code 75; a second signal ends it "
      "at once.");
  command->callback([options, &action] { action = [options](comm::Communicator& world) { return train(*options, world); }; });
}

}  // namespace cohort::launcher
