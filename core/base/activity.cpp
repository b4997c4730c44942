#include "core/base/activity.h"

#include <fmt/format.h>

#include <mutex>

namespace cohort {
namespace {

struct Notes {
  std::mutex mutex;
  std::string stage, operation, label;
  int64_t steps = 0;
  uint64_t number = 0;
};

Notes& notes() {
  static Notes instance;
  return instance;
}

}  // namespace

void note_stage(std::string_view stage, int64_t steps) {
  const std::lock_guard lock(notes().mutex);
  notes().stage = stage, notes().steps = steps;
}

void note_operation(std::string_view operation, std::string_view label, uint64_t number) {
  const std::lock_guard lock(notes().mutex);
  notes().operation = operation, notes().label = label, notes().number = number;
}

std::string activity() {
  const std::lock_guard lock(notes().mutex);
  const Notes& n = notes();
  if (n.operation.empty()) return n.stage.empty() ? "starting" : fmt::format("stage {}, {} steps done", n.stage, n.steps);
  const std::string stage = n.stage.empty() ? "" : fmt::format("stage {}, {} steps done, ", n.stage, n.steps);
  return fmt::format("{}{} \"{}\" #{}", stage, n.operation, n.label, n.number);
}

}  // namespace cohort
