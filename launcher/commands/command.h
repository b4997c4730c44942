#pragma once
/// How the commands of the program are put together: each file of this folder adds one subcommand to the parser and, when it was chosen on
/// the command line, leaves what is to be done in an Action.

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <functional>

#include "core/generate/rollout_config.h"
#include "distributed/comm/communicator.h"

namespace cohort::launcher {

/// Runs on every rank and returns the exit code; errors are thrown (core/base/error.h). Standard output is rank 0's alone.
using Action = std::function<int(comm::Communicator& world)>;

void add_train(CLI::App& program, Action& action);
void add_check(CLI::App& program, Action& action);
void add_plan(CLI::App& program, Action& action);
void add_generate(CLI::App& program, Action& action);
void add_tokenize(CLI::App& program, Action& action);
void add_score(CLI::App& program, Action& action);
void add_eval(CLI::App& program, Action& action);
void add_data(CLI::App& program, Action& action);
void add_bench(CLI::App& program, Action& action);
void add_status(CLI::App& program, Action& action);
void add_replay(CLI::App& program, Action& action);
void add_checkpoint(CLI::App& program, Action& action);
void add_export(CLI::App& program, Action& action);
void add_reference(CLI::App& program, Action& action);

/// --temperature, --top-p and --max-num-seqs, with the ranges of RolloutConfig.
void add_sampling_options(CLI::App& command, generate::RolloutConfig& sampling);

/// --dtype: how matrix products are computed.
void add_dtype_option(CLI::App& command, std::string& dtype);

/// SharedInputError unless `output` can be written and is not `input`, which `option` names.
void require_other_file(const char* option, const std::string& input, const std::string& output);

/// The lines of all ranks, in rank order: to `output` at once, or where that is empty, to standard output. Collective.
void write_lines(comm::Communicator& world, std::string_view label, const std::string& mine, const std::string& output);

/// All of them, in the order in which --help lists them.
void add_commands(CLI::App& program, Action& action);

}  // namespace cohort::launcher
