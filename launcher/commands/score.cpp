// cohort score: the log-probability of each token of given texts, from JSONL to JSONL.

#include <ATen/ATen.h>
#include <fmt/core.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>

#include "core/base/error.h"
#include "core/model/logprobs.h"
#include "launcher/commands/command.h"
#include "launcher/model_folder.h"
#include "launcher/process_setup.h"
#include "launcher/prompt_rows.h"

namespace cohort::launcher {
namespace {

constexpr int64_t kTokensAtOnce = 4096;  // in one pass, of several sequences

struct ScoreOptions {
  std::string model;
  std::string input;
  std::string output;
  std::string dtype = "fp32";
};

void check_length(const std::vector<int32_t>& ids, const ModelFolder& folder) {
  if (static_cast<int64_t>(ids.size()) > folder.positions())
    throw InputError(fmt::format("expected at most the model's {} positions, found {} tokens", folder.positions(), ids.size()));
}

/// One line {"logprobs": […]} per sequence, of one pass.
std::string score(model::CausalLM& model, const std::vector<std::vector<int32_t>>& sequences) {
  const at::Tensor logprobs = model::next_token_logprobs(model, sequences);
  const float* next = logprobs.data_ptr<float>();
  std::string lines;
  for (const std::vector<int32_t>& ids : sequences) {
    const float* end = next + ids.size() - 1;
    lines += nlohmann::json({{"logprobs", std::vector<float>(next, end)}}).dump() + "\n";
    next = end;
  }
  return lines;
}

/// Of all sequences in order, as many in a pass as fit.
std::string score_all(model::CausalLM& model, std::span<const std::vector<int32_t>> sequences) {
  std::string lines;
  for (size_t from = 0; from < sequences.size();) {
    size_t to = from;
    int64_t tokens = 0;
    do tokens += static_cast<int64_t>(sequences[to++].size());
    while (to < sequences.size() && tokens + static_cast<int64_t>(sequences[to].size()) <= kTokensAtOnce);
    lines += score(model, {sequences.begin() + static_cast<int64_t>(from), sequences.begin() + static_cast<int64_t>(to)});
    from = to;
  }
  return lines;
}

int run_score(const ScoreOptions& options, comm::Communicator& world) {
  share_cores(world);
  if (!options.output.empty()) require_other_file("--input", options.input, options.output);
  const std::vector<PromptRow> rows = read_prompt_rows(options.input, {"ids", "text"});
  const bool has_text = std::any_of(rows.begin(), rows.end(), [](const PromptRow& row) { return row.needs_tokenizer(); });
  const ModelFolder folder = load_published_folder(options.model, "", compute_type_named(options.dtype), has_text);
  const auto sequences = ids_of_rows(rows, folder, [&](const std::vector<int32_t>& ids) { check_length(ids, folder); });
  const Share mine = share_of(sequences.size(), world.rank(), world.size());
  const std::string lines = score_all(*folder.model, std::span(sequences).subspan(mine.begin, mine.end - mine.begin));
  write_lines(world, "score", lines, options.output);
  return kExitDone;
}

}  // namespace

void add_score(CLI::App& program, Action& action) {
  auto options = std::make_shared<ScoreOptions>();
  CLI::App* command = program.add_subcommand("score", "The log-probability that a model gives to each token of a text");
  command->add_option("--model", options->model, "model folder: a run's, or a published one with config.json and safetensors")->required();
  command->add_option("--input", options->input, "JSONL; each row {\"ids\": […]}, or {\"text\": …} for the tokenizer of the model folder")
      ->required();
  command->add_option("--output", options->output,
                      "JSONL, a row {\"logprobs\": […]} for each of the input: of its tokens 2 … n, in fp32; default: standard output");
  add_dtype_option(*command, options->dtype);
  command->footer(
      "Examples:\n"
      "  echo '{\"ids\": [9707, 11, 1879]}' > in.jsonl\n"
      "  cohort score --model DIR --input in.jsonl --output out.jsonl\n"
      "  mpirun -n 2 cohort score --model DIR --input in.jsonl --output out.jsonl --dtype bf16");
  command->callback([options, &action] { action = [options](comm::Communicator& world) { return run_score(*options, world); }; });
}

}  // namespace cohort::launcher
