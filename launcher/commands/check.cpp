// cohort check: validates a recipe without running it.

#include <fmt/core.h>

#include <memory>

#include "launcher/commands/command.h"
#include "launcher/run_config.h"

namespace cohort::launcher {
namespace {

struct CheckOptions {
  std::string config;
  std::vector<std::string> settings;
  int ranks = 0;
};

int check(const CheckOptions& options, comm::Communicator& world) {
  const int ranks = options.ranks > 0 ? options.ranks : world.size();
  const pipeline::Recipe recipe = load_recipe(options.config, options.settings, ranks, world);
  const size_t count = recipe.stages.size();
  if (world.rank() == 0) fmt::print("ok: {} stage{}\n", count, count == 1 ? "" : "s");
  return kExitDone;
}

}  // namespace

void add_check(CLI::App& program, Action& action) {
  auto options = std::make_shared<CheckOptions>();
  CLI::App* command = program.add_subcommand("check", "Validate a recipe and its data files; exit code 2 with every problem at once");
  command->add_option("config", options->config, "the recipe, a YAML file")->required();
  command->add_option("settings", options->settings, "key.path=value, in place of what the file says");
  command->add_option("--ranks", options->ranks, "check for so many ranks instead of those of this job")->check(CLI::Range(1, 1 << 20));
  command->footer("Example:\n  cohort check configs/r1_mini.yaml stages.zero.rollout.n=16 --ranks 4");
  command->callback([options, &action] { action = [options](comm::Communicator& world) { return check(*options, world); }; });
}

}  // namespace cohort::launcher
