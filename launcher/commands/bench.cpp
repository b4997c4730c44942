// cohort bench: measures parts of this program against what they replace, on the machine at hand.

#include <fmt/core.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/base/stopwatch.h"
#include "distributed/comm/mpi_session.h"
#include "launcher/commands/command.h"
#include "launcher/run_config.h"

namespace cohort::launcher {
namespace {

struct BenchOptions {
  int repeats = 21;
  bool json = false;
};

struct Row {
  uint64_t bytes;
  double block_s, copied_s, messages_s, mpi_s;  // medians
};

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

/// One size. The four take turns, so that what else the machine does meets all of them; a barrier before each, so that waiting for the
/// slowest rank is not counted.
Row measure(uint64_t bytes, int repeats, comm::Communicator& shared, comm::Communicator& messages) {
  const size_t count = bytes / sizeof(float);
  const std::shared_ptr<float[]> block = shared.floats_for_sums("bench", count);
  std::vector<float> own(count);
  const int batch = bytes <= 65536 ? 100 : 1;  // calls per clock reading
  std::vector<double> times[4];
  for (int i = -1; i < repeats; ++i) {  // the first round is a warm-up
    for (int kind = 0; kind < 4; ++kind) {
      const std::span<float> values = kind == 0 ? std::span(block.get(), count) : std::span(own);
      std::fill(values.begin(), values.end(), 1e-6F);
      shared.barrier("bench");
      const Stopwatch clock;
      for (int k = 0; k < batch; ++k) {
        if (kind < 2) shared.sum("bench", values);
        if (kind == 2) messages.sum("bench", values);
        if (kind == 3) comm::MpiSession::mpi_allreduce(values);
      }
      if (i >= 0) times[kind].push_back(clock.seconds() / batch);
    }
  }
  return {bytes, median(times[0]), median(times[1]), median(times[2]), median(times[3])};
}

int bench_collectives(const BenchOptions& options, comm::Communicator& world) {
  if (world.size() < 2)
    throw SharedInputError("bench collectives: expected at least 2 ranks (mpirun -n 2 cohort bench collectives), found 1");
  comm::Communicator shared = comm::MpiSession::world();
  comm::Communicator messages = comm::MpiSession::world({.shared_memory = false});
  nlohmann::json rows = nlohmann::json::array();
  if (world.rank() == 0 && !options.json)
    fmt::print(
        "Sum of fp32 buffers over {} ranks, medians of {} interleaved rounds, milliseconds\n\n"
        "     bytes  shared block  copied to it  messages  MPI_Allreduce  MPI / shared block\n",
        world.size(), options.repeats);
  for (const uint64_t bytes : {4096ULL, 65536ULL, 1ULL << 20, 16ULL << 20, 64ULL << 20}) {
    const Row r = measure(bytes, options.repeats, shared, messages);
    if (world.rank() != 0) continue;
    rows.push_back({{"bytes", r.bytes},
                    {"shared_block_s", r.block_s},
                    {"copied_s", r.copied_s},
                    {"messages_s", r.messages_s},
                    {"mpi_allreduce_s", r.mpi_s}});
    if (!options.json)
      fmt::print("{:>10} {:>13.4f} {:>13.4f} {:>9.4f} {:>14.4f} {:>17.2f}x\n", r.bytes, r.block_s * 1e3, r.copied_s * 1e3,
                 r.messages_s * 1e3, r.mpi_s * 1e3, r.mpi_s / r.block_s);
  }
  if (world.rank() == 0 && options.json) fmt::print("{}\n", nlohmann::json{{"ranks", world.size()}, {"sum", rows}}.dump(2));
  return kExitDone;
}

}  // namespace

void add_bench(CLI::App& program, Action& action) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* command = program.add_subcommand("bench", "Measure parts of this program on this machine");
  command->require_subcommand(1);
  CLI::App* collectives = command->add_subcommand("collectives", "sums over ranks: shared memory, messages, MPI_Allreduce");
  collectives->add_option("--repeats", options->repeats, "rounds; medians are printed")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  collectives->add_flag("--json", options->json, "print JSON");
  command->footer("Example:\n  mpirun -n 2 cohort bench collectives");
  collectives->callback(
      [options, &action] { action = [options](comm::Communicator& world) { return bench_collectives(*options, world); }; });
}

}  // namespace cohort::launcher
