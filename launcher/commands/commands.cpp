#include "launcher/commands/command.h"

namespace cohort::launcher {

void add_commands(CLI::App& program, Action& action) {
  program.require_subcommand(1);
  program.footer(
      "Every command: cohort COMMAND --help. Exit codes: 0 done, 2 bad input, 1 a fault, 75 stopped early and safe to start again.");
  add_train(program, action);
  add_check(program, action);
  add_plan(program, action);
  add_generate(program, action);
  add_eval(program, action);
  add_status(program, action);
  add_replay(program, action);
  add_reference(program, action);
}

}  // namespace cohort::launcher
