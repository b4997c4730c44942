#include "launcher/rollout_simulation.h"

#include <algorithm>
#include <limits>
#include <map>
#include <queue>
#include <set>

namespace cohort::launcher {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

/// A rollout rank. `clock` counts decode steps; an answer that starts at clock c with L tokens ends at clock c + L.
struct Rank {
  double time = 0.0;  // up to which the rest holds
  double clock = 0.0;
  double busy = 0.0;
  double place_seconds = 0.0;
  std::priority_queue<std::pair<double, int64_t>, std::vector<std::pair<double, int64_t>>, std::greater<>> answers;  // (end, batch)
};

class Simulation {
 public:
  Simulation(const SimulationConfig& config, const BatchLengths& lengths)
      : config_(config), lengths_(lengths), ranks_(static_cast<size_t>(config.rollout_ranks)) {
    for (size_t r = 0; r < ranks_.size(); ++r) free_.insert({-config.places, r});
  }

  SimulationResult run() {
    while (published_ < config_.batches) {
      hand_out();
      const double rollout = ends_.empty() ? kNever : ends_.begin()->first;
      if (trainer_end_ <= rollout)
        advance_trainer();
      else
        finish_answer(ends_.begin()->second);
    }
    return result();
  }

 private:
  struct Waiting {
    int64_t batch, length;
  };

  double step(const Rank& rank) const {
    return config_.step_seconds + config_.step_seconds_per_answer * static_cast<double>(rank.answers.size());
  }

  double end_of(const Rank& rank) const {
    return rank.answers.empty() ? kNever : rank.time + (rank.answers.top().first - rank.clock) * step(rank);
  }

  /// Lets the rank decode up to `now`.
  void move(Rank& rank, double now) {
    const double seconds = now - rank.time;
    if (!rank.answers.empty()) {
      rank.clock += seconds / step(rank);
      rank.busy += seconds;
      rank.place_seconds += seconds * static_cast<double>(rank.answers.size());
    }
    rank.time = now;
  }

  /// Changes what a rank decodes and keeps both indexes.
  template <class Change>
  void change(size_t r, const Change& what) {
    Rank& rank = ranks_[r];
    ends_.erase({end_of(rank), r});
    free_.erase({static_cast<int64_t>(rank.answers.size()) - config_.places, r});
    what(rank);
    if (!rank.answers.empty()) ends_.insert({end_of(rank), r});
    free_.insert({static_cast<int64_t>(rank.answers.size()) - config_.places, r});
  }

  void open_batches() {
    while (opened_ < config_.batches && opened_ <= published_ + config_.max_staleness) {
      for (const int64_t length : lengths_(opened_)) {
        waiting_.push({opened_, length});
        ++left_[opened_];
        tokens_[opened_] += length;
      }
      ++opened_;
    }
  }

  void hand_out() {
    open_batches();
    while (!waiting_.empty() && free_.begin()->first < 0) {
      const Waiting answer = waiting_.front();
      waiting_.pop();
      staleness_ += static_cast<double>(answer.batch - published_);
      ++answers_;
      change(free_.begin()->second, [&](Rank& rank) {
        move(rank, now_);
        rank.answers.push({rank.clock + static_cast<double>(answer.length), answer.batch});
      });
    }
  }

  void finish_answer(size_t r) {
    now_ = ends_.begin()->first;
    int64_t batch = 0;
    change(r, [&](Rank& rank) {
      move(rank, now_);
      rank.clock = rank.answers.top().first;  // exactly, whatever the rounding
      batch = rank.answers.top().second;
      rank.answers.pop();
    });
    --left_[batch];
    start_training();
  }

  void start_training() {
    if (trainer_end_ < kNever || trained_ >= opened_ || left_[trained_] > 0) return;
    const double seconds = config_.train_seconds_per_token * static_cast<double>(tokens_[trained_]);
    trainer_busy_ += seconds;
    trainer_end_ = now_ + seconds + config_.publish_seconds;
  }

  void advance_trainer() {
    now_ = trainer_end_;
    trainer_end_ = kNever;
    ++trained_;
    published_ = trained_;
    start_training();
  }

  SimulationResult result() const {
    SimulationResult out;
    out.seconds = now_;
    out.batches = config_.batches;
    for (const auto& [batch, tokens] : tokens_) out.tokens += tokens;
    for (const Rank& rank : ranks_) {
      out.rollout_busy += rank.busy / now_ / static_cast<double>(ranks_.size());
      out.places_filled += rank.place_seconds / now_ / static_cast<double>(config_.places) / static_cast<double>(ranks_.size());
    }
    out.trainer_busy = trainer_busy_ / now_;
    out.mean_staleness = staleness_ / static_cast<double>(std::max<int64_t>(1, answers_));
    return out;
  }

  const SimulationConfig& config_;
  const BatchLengths& lengths_;
  std::vector<Rank> ranks_;
  std::set<std::pair<double, size_t>> ends_;   // (next end, rank) of ranks with answers
  std::set<std::pair<int64_t, size_t>> free_;  // (- free places, rank)
  std::queue<Waiting> waiting_;
  std::map<int64_t, int64_t> left_, tokens_;  // per batch
  double now_ = 0.0, trainer_end_ = kNever, trainer_busy_ = 0.0, staleness_ = 0.0;
  int64_t opened_ = 0, trained_ = 0, published_ = 0, answers_ = 0;
};

}  // namespace

SimulationResult simulate_rollouts(const SimulationConfig& config, const BatchLengths& lengths) {
  return Simulation(config, lengths).run();
}

}  // namespace cohort::launcher
