// cohort export: a model of a run, or of a folder, as a Hugging Face folder that other programs load.

#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "core/base/error.h"
#include "core/base/folder.h"
#include "core/base/text_util.h"
#include "core/model/published_folder.h"
#include "launcher/commands/command.h"

namespace cohort::launcher {
namespace {

struct ExportCommand {
  std::string run, stage, model, to;
  std::string dtype = "auto";
  uint64_t max_shard_size = 5'000'000'000;
};

/// stages/NAME/model of a run folder.
std::string stage_model(const ExportCommand& options) {
  if (!is_plain_file_name(options.stage))
    throw InputError("--stage: expected the name of a stage, found \"" + printable(options.stage) + "\"");
  const std::string folder = options.run + "/stages/" + options.stage;
  std::error_code ignored;
  if (!std::filesystem::is_directory(folder, ignored))
    throw InputError(fmt::format("{}: expected a run with a finished stage \"{}\", found none", options.run, printable(options.stage)));
  if (!std::filesystem::is_directory(folder + "/model", ignored))
    throw InputError(fmt::format("--stage: expected a stage that trains a model, found {}, which makes traces", printable(options.stage)));
  return folder + "/model";
}

int export_model(const ExportCommand& options, comm::Communicator& world) {
  if (world.rank() != 0) return kExitDone;
  model::ExportOptions how;
  how.max_shard_bytes = options.max_shard_size;
  if (options.dtype != "auto") how.dtype = options.dtype == "bf16" ? at::kBFloat16 : at::kFloat;
  const auto done = model::export_folder(options.model.empty() ? stage_model(options) : options.model, options.to, how);
  fmt::print("{}: {} tensors, {} bytes of {} in {} file{}; beside them: {}\n", options.to, done.tensors, done.bytes,
             model::dtype_name(done.dtype), done.files, done.files == 1 ? "" : "s",
             done.companions.empty() ? "no tokenizer files, as the model's folder has none" : join(done.companions));
  if (done.prediction_tensors > 0)
    fmt::print("{}: {} tensors of layers for multi-token prediction are left out\n", options.to, done.prediction_tensors);
  return kExitDone;
}

}  // namespace

void add_export(CLI::App& program, Action& action) {
  auto options = std::make_shared<ExportCommand>();
  CLI::App* command =
      program.add_subcommand("export", "A Hugging Face folder of a trained model: config.json, safetensors, tokenizer files");
  CLI::Option* run = command->add_option("--run", options->run, "run folder, with --stage");
  CLI::Option* stage = command->add_option("--stage", options->stage, "a finished stage of the run")->needs(run);
  CLI::Option* model = command->add_option("--model", options->model, "a model folder, in place of --run and --stage");
  run->needs(stage)->excludes(model);
  command->add_option("--to", options->to, "the new folder; nothing may be in it")->required();
  command->add_option("--dtype", options->dtype, "auto: that of the published model, or of the one that the run began from")
      ->check(CLI::IsMember({"auto", "fp32", "bf16"}))
      ->capture_default_str();
  command->add_option("--max-shard-size", options->max_shard_size, "bytes of tensors in a file, unless one tensor alone is larger")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 50))
      ->capture_default_str();
  command->footer(
      "Examples:\n"
      "  cohort export --run runs/r1_mini --stage r1 --to r1_mini_hf\n"
      "  cohort export --model DIR --to OUT --dtype bf16\n"
      "The folder appears when it is whole. A killed export leaves .OUT.partial-XXXXXX beside it.");
  command->callback([options, &action] {
    if (options->run.empty() && options->model.empty()) throw CLI::RequiredError("--run or --model");
    action = [options](comm::Communicator& world) { return export_model(*options, world); };
  });
}

}  // namespace cohort::launcher
