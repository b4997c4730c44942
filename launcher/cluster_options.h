#pragma once
/// The cluster half of `cohort plan`: its options, and what it prints.

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <string>

#include "core/pipeline/recipe.h"
#include "launcher/layout_search.h"

namespace cohort::launcher {

struct ClusterOptions {
  std::string gpu_memory;  ///< "80GB"; empty: no cluster is planned
  Device device;
  Efficiency efficiency;
  // In the units of the command line
  double peak_tflops = 989.0, memory_gbs = 3350.0, nvlink_gbs = 158.0, network_gbs = 50.0, host_gbs = 50.0;
  LayoutWish wish;
  std::string stage;
  double mean_length = 0.0;  ///< 0: a quarter of the longest
  std::string lengths;       ///< a samples/STAGE.jsonl

  bool simulate = false;
  int64_t steps = 8;
  uint64_t seed = 17;
  // Measured rates, in place of those of a planned device
  double decode_step_seconds = 0.0, train_token_seconds = 0.0;

  bool wanted() const { return !gpu_memory.empty() || simulate; }
};

void add_cluster_options(CLI::App& command, ClusterOptions& options);

/// InputError "command line: …" for options that would change nothing without --gpu-memory, and for --simulate without rates.
void check_cluster_options(const CLI::App& command, const ClusterOptions& options);

/// "80GB" (10^9), "80GiB" (2^30), …: bytes. InputError "command line: --gpu-memory: …".
double parse_memory(const std::string& text);

/// What `cohort plan` prints for a cluster or a simulation. Pure but for reading options.lengths. InputError for options that do not fit
/// the recipe or each other.
std::string cluster_output(const ClusterOptions& options, const pipeline::Recipe& recipe, int64_t ranks, bool as_json);

}  // namespace cohort::launcher
