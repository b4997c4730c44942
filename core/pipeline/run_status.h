#pragma once
/// How far a run has come, from what its run folder holds. Reads names and small files only: checkpoints are not verified.

#include <cstdint>
#include <string>

#include "core/pipeline/recipe.h"

namespace cohort::pipeline {

struct RunStatus {
  size_t stages = 0, done = 0;
  std::string next;   ///< the first stage that is not done; "" when all are
  int64_t step = -1;  ///< its newest checkpoint; -1: none
};

RunStatus run_status(const Recipe& recipe);

/// "3 of 13 stages done; next cold_start, from step 15"; "…, from its start"; "all 13 stages done".
std::string describe_status(const RunStatus& status);

}  // namespace cohort::pipeline
