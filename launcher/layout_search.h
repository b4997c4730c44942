#pragma once
/// Finds a layout that fits.

#include <optional>
#include <string>
#include <vector>

#include "launcher/cluster_plan.h"

namespace cohort::launcher {

/// What the user has fixed; the rest is searched.
struct LayoutWish {
  int64_t ranks = 1;
  std::optional<std::string> placement;  ///< "colocated" or "split"
  std::optional<int64_t> rollout_ranks, expert_parallel, rollout_expert_parallel, data_parallel, context_parallel, max_staleness;
  std::optional<bool> zero1, sharded_parameters, recompute, offload;
};

struct FoundLayout {
  Layout layout;
  bool fits = false;  ///< all stages; else the layout of the smallest peak
  int64_t tried = 0, fitting = 0;
};

/// The fitting layout with the shortest steps (summed over rl stages; without any, over all); of equals the first, in an order that begins
/// with what is simplest. With `max_staleness` not given, 1 in split. Stages whose model has no experts are not divided by expert
/// parallelism. Pure. InputError "command line: …" when no layout at all is as wished.
FoundLayout find_layout(const LayoutWish& wish, const std::vector<StageWork>& stages, const Device& device, const Efficiency& efficiency);

/// A key to change for each of the largest parts of the worst phase, largest first, at most three: "activations: trainer.recompute: layer".
std::vector<std::string> remedies(const StageWork& work, const Layout& layout, const StageCost& cost);

}  // namespace cohort::launcher
