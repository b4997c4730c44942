#pragma once
/// How stages refer to each other. Internal to core/pipeline.

#include <string>
#include <vector>

#include "core/pipeline/recipe.h"

namespace cohort::pipeline {

/// What a stage takes from another one.
enum class Takes {
  kModel,   ///< weights: of pretrain, sft, rl
  kTraces,  ///< solved questions: of rejection_sampling
  kScores,  ///< a scalar head: of reward_model
};

struct StageReference {
  std::string key;    ///< inside the stage, e.g. "data.from"
  std::string stage;  ///< as the user wrote it
  Takes takes;
};

/// Every reference that is set, in the order of the keys.
std::vector<StageReference> stage_references(const StageConfig& stage);

/// Name of the stage whose model this one starts from or samples; "" for none.
std::string starting_stage(const StageConfig& stage);

/// The preset that the stage itself names; "" for none.
std::string own_model(const StageConfig& stage);

}  // namespace cohort::pipeline
