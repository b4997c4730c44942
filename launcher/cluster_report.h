#pragma once
/// A plan for a cluster, for people and as JSON.

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "launcher/cluster_plan.h"
#include "launcher/layout_search.h"
#include "launcher/rollout_simulation.h"

namespace cohort::launcher {

struct PlannedStage {
  StageWork work;
  StageCost cost;
};

struct ClusterReport {
  std::string recipe;
  Device device;
  Efficiency efficiency;
  FoundLayout found;
  std::vector<PlannedStage> stages;
  size_t shown = 0;  ///< the stage whose arithmetic is printed
};

/// One row of a simulation: a way to share the ranks between rollouts and training.
struct SimulationRow {
  Layout layout;
  DecodeRate decode;
  bool fits = true;
  SimulationResult result;
};

struct SimulationReport {
  std::string stage;
  std::string lengths;  ///< where they come from
  double mean_length = 0.0;
  int64_t longest = 0;
  std::vector<SimulationRow> rows;
};

std::string cluster_text(const ClusterReport& report);
nlohmann::ordered_json cluster_json(const ClusterReport& report);
std::string simulation_text(const SimulationReport& report);
nlohmann::ordered_json simulation_json(const SimulationReport& report);

}  // namespace cohort::launcher
