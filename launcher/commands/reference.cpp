// cohort reference: prints configs/reference.yaml. A helper for developers, not listed by --help.

#include "launcher/commands/reference.h"

#include <fmt/core.h>

#include "core/base/error.h"
#include "core/config/yaml_writer.h"
#include "core/pipeline/recipe.h"
#include "launcher/commands/command.h"

namespace cohort::launcher {

std::string reference_text() {
  return "# Every key of a recipe: what it means, what it accepts, and its default. Made from the config structs; do not edit.\n"
         "# To make it again:  build/cohort reference > configs/reference.yaml\n\n" +
         config::write_reference(pipeline::Recipe{});
}

void add_reference(CLI::App& program, Action& action) {
  CLI::App* command = program.add_subcommand("reference", "Print configs/reference.yaml");
  command->group("");  // hidden
  command->callback([&action] {
    action = [](comm::Communicator& world) {
      if (world.rank() == 0) fmt::print("{}", reference_text());
      return kExitDone;
    };
  });
}

}  // namespace cohort::launcher
