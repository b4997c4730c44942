// cohort status: where a run stands, from its run folder alone.

#include <fmt/core.h>

#include <memory>

#include "core/base/error.h"
#include "core/pipeline/run_status.h"
#include "launcher/commands/command.h"
#include "launcher/run_config.h"

namespace cohort::launcher {
namespace {

struct StatusOptions {
  std::string config;
  std::vector<std::string> settings;
};

int status(const StatusOptions& options, comm::Communicator& world) {
  const pipeline::Recipe recipe = load_recipe(options.config, options.settings, 0, world);
  if (world.rank() == 0) fmt::print("{}\n", pipeline::describe_status(pipeline::run_status(recipe)));
  return kExitDone;
}

}  // namespace

void add_status(CLI::App& program, Action& action) {
  auto options = std::make_shared<StatusOptions>();
  CLI::App* command = program.add_subcommand("status", "The last committed step of a run, as one line");
  command->add_option("config", options->config, "the recipe, a YAML file")->required();
  command->add_option("settings", options->settings, "key.path=value, in place of what the file says");
  command->footer(
      "Example:\n  cohort status configs/r1_mini.yaml run.output=runs/mine\nprints: 3 of 13 stages done; next cold_start, from step 15");
  command->callback([options, &action] { action = [options](comm::Communicator& world) { return status(*options, world); }; });
}

}  // namespace cohort::launcher
