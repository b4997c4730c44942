#include "core/config/field.h"

#include <fmt/core.h>

namespace cohort::config {

std::string Range::text() const {
  std::string words;
  if (has_low && has_high && !low_open && !high_open) return fmt::format("between {} and {}", low, high);
  if (has_low) words = fmt::format("{} {}", low_open ? "above" : "at least", low);
  if (has_low && has_high) words += " and ";
  if (has_high) words += fmt::format("{} {}", high_open ? "below" : "at most", high);
  return words;
}

}  // namespace cohort::config
