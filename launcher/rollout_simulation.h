#pragma once
/// Replays answers of given lengths through rollout ranks and a trainer, event by event: how busy either is, before a cluster is paid for.

#include <cstdint>
#include <functional>
#include <vector>

namespace cohort::launcher {

/// What is replayed. A batch of answers is sampled by the rollout ranks, then trained by the trainer ranks together; batch b may be sampled
/// from the moment when b - max_staleness batches have been trained and their weights published, so that with max_staleness 0 the two take
/// turns. Answers go, in order, to the rank with the most free places (the lowest of equals); a rank's answers all move by one token per
/// decode step, which takes step_seconds + step_seconds_per_answer x (answers in progress).
struct SimulationConfig {
  int64_t rollout_ranks = 1;
  int64_t places = 1;  ///< answers that a rollout rank decodes at a time
  int64_t batches = 1;
  int64_t max_staleness = 0;
  double step_seconds = 1.0;
  double step_seconds_per_answer = 0.0;
  double train_seconds_per_token = 0.0;  ///< of the whole group of trainer ranks
  double publish_seconds = 0.0;          ///< from trained weights to rollouts that use them; the trainer does nothing else meanwhile
};

struct SimulationResult {
  double seconds = 0.0;         ///< from the first token to the last publication
  double rollout_busy = 0.0;    ///< share of it in which a rollout rank has an answer in progress, mean over ranks
  double places_filled = 0.0;   ///< share of all places x seconds in which an answer is in progress
  double trainer_busy = 0.0;    ///< share in which the trainer trains
  double mean_staleness = 0.0;  ///< batches trained between an answer's start and its own training, mean over answers
  int64_t tokens = 0;
  double seconds_per_batch() const { return batches > 0 ? seconds / static_cast<double>(batches) : 0.0; }
  int64_t batches = 0;
};

/// Lengths (at least 1) of the answers of batch `b`, not empty.
using BatchLengths = std::function<std::vector<int64_t>(int64_t b)>;

/// Pure. O(answers · log).
SimulationResult simulate_rollouts(const SimulationConfig& config, const BatchLengths& lengths);

}  // namespace cohort::launcher
