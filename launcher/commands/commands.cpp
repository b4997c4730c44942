#include "launcher/commands/command.h"

#include <fmt/core.h>

#include <cmath>
#include <filesystem>

#include "core/base/file.h"
#include "launcher/run_config.h"

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
  command
      .add_option("--max-num-seqs", sampling.max_num_seqs,
                  "answers decoded together on one rank, at least all of one question: fewer take less memory, and are the same")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
}

void add_dtype_option(CLI::App& command, std::string& dtype) {
  command.add_option("--dtype", dtype, "how matrix products are computed; norms, softmax, LM head and log-probabilities are fp32 in both")
      ->check(CLI::IsMember({"fp32", "bf16"}))
      ->capture_default_str();
}

void require_other_file(const char* option, const std::string& input, const std::string& output) {
  std::error_code none;
  if (std::filesystem::equivalent(input, output, none))
    throw SharedInputError(std::string("--output: expected another file than ") + option + ", found " + output);
  try {
    require_writable_place(output);
  } catch (const InputError& error) {
    throw SharedInputError(error.problems());
  }
}

void write_lines(comm::Communicator& world, std::string_view label, const std::string& mine, const std::string& output) {
  std::string all;
  for (const std::string& part : world.gather(label, mine)) all += part;
  if (world.rank() != 0) return;
  if (output.empty())
    fmt::print("{}", all);
  else
    write_file_atomic(output, all);
}

void add_commands(CLI::App& program, Action& action) {
  program.require_subcommand(1);
  program.footer(
      "Every command: cohort COMMAND --help. Exit codes: 0 done, 2 bad input, 1 a fault, 75 stopped early and safe to start again.");
  add_train(program, action);
  add_check(program, action);
  add_plan(program, action);
  add_generate(program, action);
  add_tokenize(program, action);
  add_score(program, action);
  add_eval(program, action);
  add_data(program, action);
  add_bench(program, action);
  add_status(program, action);
  add_replay(program, action);
  add_checkpoint(program, action);
  add_export(program, action);
  add_reference(program, action);
}

}  // namespace cohort::launcher
