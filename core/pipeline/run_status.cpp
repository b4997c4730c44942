#include "core/pipeline/run_status.h"

#include <fmt/format.h>

#include "core/pipeline/pipeline.h"
#include "core/train/checkpoint.h"

namespace cohort::pipeline {

RunStatus run_status(const Recipe& recipe) {
  const auto hashes = stage_hashes(recipe);
  RunStatus status;
  status.stages = recipe.stages.size();
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    const std::string& name = recipe.stages[i].name;
    const auto result = finished_stage(recipe, name);
    if (result && result->hash() == hashes[i]) {
      ++status.done;
    } else if (status.next.empty()) {
      status.next = name;
      status.step = train::newest_step(recipe.run.output + "/checkpoints/" + name, name, hashes[i]);
    }
  }
  return status;
}

std::string describe_status(const RunStatus& s) {
  if (s.next.empty()) return fmt::format("all {} stages done", s.stages);
  const std::string from = s.step < 0 ? "its start" : fmt::format("step {}", s.step);
  return fmt::format("{} of {} stages done; next {}, from {}", s.done, s.stages, s.next, from);
}

}  // namespace cohort::pipeline
