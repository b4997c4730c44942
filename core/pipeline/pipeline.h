#pragma once
/// Runs a recipe: stage after stage, each once.
///
/// A finished stage whose hash (its config, its inputs' hashes, the recipe version) is unchanged is not run again; a changed one and all
/// that depend on it are. A stage is committed by renaming its complete folder into place.

#include <optional>
#include <string>

#include "core/pipeline/recipe.h"
#include "core/pipeline/team.h"
#include "core/records/records.pb.h"

namespace cohort::pipeline {

struct RunOptions {
  std::string from_stage;  ///< run this stage and all later ones again
  bool fresh = false;      ///< run everything again
};

/// InputError unless a run may write, and remove, in this folder: it is new, empty, or that of an earlier run. Not collective.
void require_own_folder(const std::string& output);

/// Collective. Throws Stopped after a committed checkpoint when asked to stop; InputError for a stage name that does not exist. The caller
/// sees to it that no other process works in the run folder (RunLock on OUTPUT/lock).
void run_recipe(const Recipe& recipe, Team& team, const RunOptions& options);

/// The committed result of a stage; nullopt when there is none.
std::optional<records::StageResult> finished_stage(const Recipe& recipe, const std::string& name);

/// The table of stages that a run ends with, from OUTPUT/summary.json.
std::string stage_table(const Recipe& recipe);

}  // namespace cohort::pipeline
