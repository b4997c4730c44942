#include "distributed/control/tickets.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.h"

namespace cohort::control {

TicketRange TicketCounter::take(uint64_t round, uint64_t total, uint64_t most) {
  const std::lock_guard lock(mutex_);
  if (round > round_) round_ = round, total_ = total, next_ = 0;
  if (round != round_ || total != total_)
    throw Fault(fmt::format("tickets of round {} with {} in all are asked for in round {} with {}", round, total, round_, total_));
  const TicketRange range{next_, std::min(most, total_ - next_)};
  next_ += range.count;
  return range;
}

}  // namespace cohort::control
