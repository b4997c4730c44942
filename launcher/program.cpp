#include "launcher/program.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/text_util.h"
#include "distributed/comm/mpi_session.h"
#include "launcher/commands/command.h"
#include "launcher/failure.h"
#include "launcher/process_setup.h"
#include "launcher/run_config.h"

namespace cohort::launcher {
namespace {

void print_problems(const InputError& error, const std::string& prefix) {
  for (const std::string& problem : error.problems()) std::fprintf(stderr, "%s%s\n", prefix.c_str(), problem.c_str());
}

/// --help, and what CLI11 did not like.
int report(const CLI::App& program, const CLI::ParseError& error, bool speaks) {
  const bool asked_for_help = error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success);
  if (asked_for_help) {
    if (speaks) program.exit(error, std::cout, std::cerr);
    return kExitDone;
  }
  if (speaks) std::fprintf(stderr, "command line: %s\nTry: cohort --help, or cohort COMMAND --help\n", error.what());
  return kExitBadInput;
}

/// CLI11 would only say that a subcommand is missing.
void check_command(const CLI::App& program, const std::string& name) {
  if (name.empty() || name[0] == '-') return;
  std::vector<std::string> names;
  for (const CLI::App* command : program.get_subcommands({})) {
    if (command->get_name() == name) return;
    if (!command->get_group().empty()) names.push_back(command->get_name());
  }
  const std::string near = nearest_name(name, names);
  throw SharedInputError("command line: expected one of " + join(names) + (near.empty() ? "" : " (did you mean '" + near + "'?)") +
                         ", found \"" + printable(name) + "\"");
}

/// What is still buffered would be lost without a word when the process ends.
void flush_standard_output() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
    throw Fault(std::string("standard output: cannot be written: ") + std::strerror(errno));
}

int parse_and_run(int argc, const char* const* argv, comm::Communicator& world) {
  CLI::App program{"Trains reasoning models the way DeepSeek-R1 was trained, on one process or on many (mpirun -n N cohort …).", "cohort"};
  Action action;
  add_commands(program, action);
  if (argc > 1) check_command(program, argv[1]);
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return report(program, error, world.rank() == 0);
  }
  const int code = action(world);
  flush_standard_output();
  return code;
}

int run_on(comm::Communicator& world, int argc, const char* const* argv) {
  const int rank = world.rank();
  const std::string who = world.size() > 1 ? "rank " + std::to_string(rank) + ": " : "";
  try {
    init_log("", rank, world.size());
    check_instruction_set();
    return parse_and_run(argc, argv, world);
  } catch (const SharedInputError& error) {
    if (rank == 0) print_problems(error, "");
    return kExitBadInput;
  } catch (const InputError& error) {
    print_problems(error, who);
    return kExitBadInput;
  } catch (const Stopped& stop) {
    log_info("{}", stop.what());
    return kExitStopped;
  } catch (const std::exception& error) {
    log_error("{}", describe_failure(error));
    return kExitFault;
  }
}

}  // namespace

int run_program(int argc, const char* const* argv) noexcept {
  try {
    comm::Communicator world = comm::MpiSession::world();
    return run_on(world, argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
  } catch (...) {
    std::fputs("an unknown error\n", stderr);
  }
  return kExitFault;
}

}  // namespace cohort::launcher
