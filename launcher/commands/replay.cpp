// cohort replay: computes a batch again that a run skipped because its loss or gradient was not finite.

#include <fmt/core.h>

#include <memory>

#include "core/base/error.h"
#include "core/pipeline/skipped_batch.h"
#include "launcher/commands/command.h"
#include "launcher/process_setup.h"

namespace cohort::launcher {
namespace {

void print_sample(size_t i, const records::SkippedSample& s, const pipeline::Replayed& r) {
  const int tokens = s.prompt_ids_size() + s.completion_ids_size() + s.rejected_ids_size();
  fmt::print("{:>6}{:>10}{:>7}{:>8}{:>14.6g}{:>14.6g}{}\n", i, s.group_id(), s.index(), tokens, r.loss, r.grad_norm,
             r.finite() ? "" : "  NOT FINITE");
}

int replay(const std::string& path, comm::Communicator& world) {
  if (world.rank() != 0) return kExitDone;
  share_cores(world);
  const records::SkippedBatch batch = pipeline::read_skipped_batch(path);
  const pipeline::Replay again = pipeline::replay(batch, path);
  fmt::print("stage {} step {}: loss {}, gradient norm {} in the run; weights of {} optimizer steps, {}\n", batch.stage(), batch.step(),
             batch.loss(), batch.grad_norm(), batch.optimizer_steps(),
             again.bad_weights == 0 ? "all finite" : fmt::format("{} values NOT FINITE", again.bad_weights));
  fmt::print("{:>6}{:>10}{:>7}{:>8}{:>14}{:>14}\n", "sample", "group", "index", "tokens", "loss", "gradient");
  size_t bad = 0;
  for (size_t i = 0; i < again.samples.size(); ++i) {
    print_sample(i, batch.samples(static_cast<int>(i)), again.samples[i]);
    bad += again.samples[i].finite() ? 0 : 1;
  }
  fmt::print("batch: loss {}, gradient norm {}; {} of {} samples are not finite\n", again.batch.loss, again.batch.grad_norm, bad,
             again.samples.size());
  return kExitDone;
}

}  // namespace

void add_replay(CLI::App& program, Action& action) {
  auto path = std::make_shared<std::string>();
  CLI::App* command = program.add_subcommand("replay", "Compute a skipped batch again: loss and gradient norm of each sample");
  command->add_option("file", *path, "OUTPUT/bad_batches/STAGE_step_N.pb")->required();
  command->footer("Example:\n  cohort replay runs/mine/bad_batches/zero_step_12.pb\nLosses are shares of the batch's: they add up to it.");
  command->callback([path, &action] { action = [path](comm::Communicator& world) { return replay(*path, world); }; });
}

}  // namespace cohort::launcher
