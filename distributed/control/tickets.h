#pragma once
/// Who takes the next piece of a round of work: a counter that all ranks share.

#include <cstdint>
#include <mutex>

namespace cohort::control {

/// Tickets [first, first + count) of a round.
struct TicketRange {
  uint64_t first = 0;
  uint64_t count = 0;
};

class Tickets {
 public:
  virtual ~Tickets() = default;
  /// The next tickets of `round`, at most `most`; none when all `total` are given out. Every ticket is given once. Rounds ascend; a round
  /// begins when somebody asks for one of its tickets, and nobody may ask for those of an earlier one any more. Not collective; blocks for
  /// an answer of rank 0's control thread, which does nothing else that takes time. Fault for an earlier round or another `total`.
  virtual TicketRange take(uint64_t round, uint64_t total, uint64_t most) = 0;
};

/// The counter itself, for the threads of one process.
class TicketCounter final : public Tickets {
 public:
  TicketRange take(uint64_t round, uint64_t total, uint64_t most) override;

 private:
  std::mutex mutex_;
  uint64_t round_ = 0, total_ = 0, next_ = 0;
};

}  // namespace cohort::control
