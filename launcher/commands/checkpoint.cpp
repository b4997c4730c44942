// cohort checkpoint: verifies a saved step and lists its tensors with hashes that do not depend on the layout that saved it.

#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/text_util.h"
#include "core/train/checkpoint.h"
#include "launcher/commands/command.h"

namespace cohort::launcher {
namespace {

struct CheckpointOptions {
  std::string folder;
  bool json = false;
};

void print_json(const train::SavedStep& step, const std::vector<std::string>& hashes) {
  const auto& m = step.manifest();
  nlohmann::ordered_json tensors = nlohmann::ordered_json::object();
  for (int t = 0; t < m.tensors_size(); ++t) {
    const auto& tensor = m.tensors(t);
    tensors[tensor.name()] = {{"dtype", tensor.dtype()},
                              {"shape", std::vector<int64_t>(tensor.shape().begin(), tensor.shape().end())},
                              {"xxh3", hashes[static_cast<size_t>(t)]}};
  }
  const nlohmann::ordered_json all = {{"stage", m.stage()},   {"step", m.step()},          {"optimizer_steps", m.optimizer_steps()},
                                      {"layout", m.layout()}, {"shards", m.shards_size()}, {"tensors", tensors}};
  fmt::print("{}\n", all.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

void print_table(const train::SavedStep& step, const std::vector<std::string>& hashes) {
  const auto& m = step.manifest();
  uint64_t bytes = 0;
  for (const auto& shard : m.shards()) bytes += shard.bytes();
  fmt::print("stage {} step {}, {} optimizer steps; {} bytes in {} shards, all verified\nsaved by: {}\n", printable(m.stage()), m.step(),
             m.optimizer_steps(), bytes, m.shards_size(), printable(m.layout(), 400));
  for (int t = 0; t < m.tensors_size(); ++t)
    fmt::print("{}  {} [{}] {}\n", hashes[static_cast<size_t>(t)], m.tensors(t).dtype(), fmt::join(m.tensors(t).shape(), ", "),
               printable(m.tensors(t).name()));
}

int checkpoint(const CheckpointOptions& options, comm::Communicator& world) {
  if (world.rank() != 0) return kExitDone;
  const train::SavedStep step(options.folder);
  const auto hashes = step.tensor_hashes();
  options.json ? print_json(step, hashes) : print_table(step, hashes);
  return kExitDone;
}

}  // namespace

void add_checkpoint(CLI::App& program, Action& action) {
  auto options = std::make_shared<CheckpointOptions>();
  CLI::App* command = program.add_subcommand("checkpoint", "Verify a saved step; its tensors and their hashes, whatever layout saved it");
  command->add_option("folder", options->folder, "OUTPUT/checkpoints/STAGE/step_N")->required();
  command->add_flag("--json", options->json, "as JSON");
  command->footer("Example:\n  cohort checkpoint runs/mine/checkpoints/zero/step_40\nDamage is named, and the exit code is 2.");
  command->callback([options, &action] { action = [options](comm::Communicator& world) { return checkpoint(*options, world); }; });
}

}  // namespace cohort::launcher
