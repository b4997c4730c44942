#pragma once
/// When which batch of rollouts is sampled, if answers may be up to `max_staleness` steps old when they are trained on. (With partial
/// rollouts a stage gives less than it allows, so that some is left for answers that are carried: rl.cpp.)
///
///   before step s      every batch up to that of step s + max(0, max_staleness - 1) is there: in the steady state it is already
///   alongside step s   with max_staleness > 0 the batch of step s + max_staleness is sampled, with the weights that step s begins with
///   after step s       that batch and the new weights change hands
///
/// So step s trains on answers of the weights that step max(0, s - max_staleness) began with, whoever samples and however fast: a result is
/// a function of the recipe. A resumed stage finds the batches that were sampled and not yet trained on in its checkpoint.

#include <algorithm>
#include <cstdint>

namespace cohort::pipeline {

class RolloutSchedule {
 public:
  /// `pending` batches, those of first_step, first_step + 1, …, are there already.
  RolloutSchedule(int64_t steps, int64_t max_staleness, int64_t first_step, int64_t pending)
      : steps_(steps), max_staleness_(max_staleness), next_(first_step + pending) {}

  /// Whether the next batch must be sampled before `step` is trained …
  bool needed_before(int64_t step) const { return next_ < std::min(step + std::max<int64_t>(1, max_staleness_), steps_); }
  /// … or is sampled alongside it.
  bool alongside(int64_t step) const { return max_staleness_ > 0 && next_ == step + max_staleness_ && next_ < steps_; }

  int64_t next() const { return next_; }   ///< the step whose batch is sampled next
  int64_t take_next() { return next_++; }  ///< and counts it as sampled

 private:
  int64_t steps_, max_staleness_, next_;
};

}  // namespace cohort::pipeline
