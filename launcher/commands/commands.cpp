#include "launcher/commands/command.h"

#include <cmath>

namespace cohort::launcher {
namespace {

/// CLI::Range lets NaN through.
CLI::Validator number(const std::string& what, bool (*good)(double)) {
  return CLI::Validator(
      [what, good](std::string& text) {
        double value = NAN;
        return CLI::detail::lexical_cast(text, value) && good(value) ? std::string() : "expected " + what + ", found " + text;
      },
      what);
}

}  // namespace

void add_sampling_options(CLI::App& command, generate::RolloutConfig& sampling) {
  command.add_option("--temperature", sampling.temperature, "0 is greedy")
      ->check(number("0, or 0.001 to 100", [](double x) { return x == 0.0 || (x >= 1e-3 && x <= 100.0); }))
      ->capture_default_str();
  command.add_option("--top-p", sampling.top_p, "nucleus; 1 is off")
      ->check(number("0.000001 to 1", [](double x) { return x >= 1e-6 && x <= 1.0; }))
      ->capture_default_str();
}

void add_commands(CLI::App& program, Action& action) {
  program.require_subcommand(1);
  program.footer(
      "Every command: cohort COMMAND --help. Exit codes: 0 done, 2 bad input, 1 a fault, 75 stopped early and safe to start again.");
  add_train(program, action);
  add_check(program, action);
  add_plan(program, action);
  add_generate(program, action);
  add_eval(program, action);
  add_data(program, action);
  add_bench(program, action);
  add_status(program, action);
  add_replay(program, action);
  add_checkpoint(program, action);
  add_reference(program, action);
}

}  // namespace cohort::launcher
