#pragma once
/// Partial rollouts: which groups are under way for one batch, and which of them it takes (the idea: Kimi k1.5, arXiv 2501.12599, section
/// 2.6; with over-sampling: APRIL, arXiv 2509.18521).
///
///   F groups are under way: carried ones first, new questions for the rest. A round decodes at most N new tokens of each answer that is
///   not done. A group is done when all its answers are. One that dynamic sampling finds uninformative then leaves, and another question
///   takes its place. The batch is full with the first round after which B groups are done, and takes those that were asked first. All
///   others are carried: to be gone on with by the next batch's weights, or done and waiting for a place.
///
/// No token may be older than max_staleness steps when it is trained on. A group that the next batch would find too old is therefore waited
/// for: rounds go on until it is done, and as the oldest it is taken. With F <= 2 B at most B are carried, so all of them find a place;
/// where a batch gave up short (max_num_gen_batches) there may be more, and the youngest that find none are dropped and counted.
///
/// A pure function of what the rounds bring, so every member that rolls out comes to the same decisions.

#include <cstdint>
#include <map>
#include <vector>

#include "core/records/records.pb.h"

namespace cohort::pipeline {

/// Whether all its answers are.
bool is_done(const records::Group& group);

class PartialBatch {
 public:
  struct Limits {
    int64_t batch;      ///< B: groups that the batch takes
    int64_t under_way;  ///< F
    int64_t most_done;  ///< the batch gives up when so many groups were done, informative or not
    uint64_t max_staleness;
  };

  /// `carried`: whole, as the last batch left them.
  PartialBatch(const Limits& limits, uint64_t step, const std::vector<records::Group>& carried);

  /// Ids of the next round, ascending: what is not done, and new questions from `cursor` on.
  std::vector<uint64_t> next_round(uint64_t& cursor);
  /// A group of the round as it is so far; null for a new question.
  const records::Group* so_far(uint64_t id) const;
  /// A group of the round afterwards: a summary will do when it is done, otherwise whole. `informative` counts only when it is done.
  void take(records::Group group, bool informative);
  /// Ids of the groups that are not done.
  std::vector<uint64_t> open() const;
  /// After a round: whether it was the last one.
  bool enough() const;

  /// Fills asked, chosen, dropped, new_questions, and carried with what is not done. Returns the ids that are done and wait.
  std::vector<uint64_t> close(records::RolloutBatch& batch) const;

 private:
  bool last_chance(const records::Group& group) const;

  Limits limits_;
  uint64_t step_;
  uint64_t new_questions_ = 0;
  std::map<uint64_t, records::Group> open_;  ///< of the next round; no samples: not asked yet
  std::map<uint64_t, records::Group> done_;  ///< informative
  std::map<uint64_t, records::Group> left_;  ///< done, and not informative
};

}  // namespace cohort::pipeline
