#pragma once
/// The coordinator's part of a rollout round: who rolls out what, and the ledger that proves it was done once.
/// Nothing here communicates; rank_team carries the results to the other ranks.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/records/records.pb.h"

namespace cohort::roles {

/// Shares out ids: ascending, in contiguous runs, rank after rank, sizes differing by at most one with the longer ones first.
/// Fault when an id occurs twice. Pure.
records::Assignment assign_groups(uint64_t step, std::vector<uint64_t> group_ids, int ranks);

/// Bytes to Assignment with every field checked: readable, of this step, one rank below `ranks` for each id, ids ascending. Fault
/// otherwise.
records::Assignment parse_assignment(const std::string& bytes, uint64_t step, int ranks);

/// What has become of every group of a stage: assigned, then rolled out by the rank it was assigned to, then given to one trainer, each
/// once. Anything else is a Fault naming group, step and rank. Every group that is assigned must be settled by close_round() before the
/// next step; a group that will not be used for learning still goes through it. Before it is rolled out it may be put back (its answers are
/// not done, or nobody needs them yet), and only then assigned again.
/// Memory: the open round, and ranges of finished ids (ids of a stage are positions in its stream of questions, so these merge).
class Ledger {
 public:
  void assign(const records::Assignment& assignment);
  void put_back(const std::vector<uint64_t>& group_ids);
  void rolled_out(int rank, const std::vector<uint64_t>& group_ids);
  void trained(int rank, const std::vector<uint64_t>& group_ids);
  /// Fault when a group of the round was not rolled out or not given to a trainer.
  void close_round();

  uint64_t finished() const { return finished_count_; }  ///< groups that went all the way in this stage

 private:
  enum class State { kAssigned, kRolledOut, kTrained };
  struct Entry {
    int rank;
    State state;
  };
  Entry& find(int rank, uint64_t id, const char* doing);
  bool is_finished(uint64_t id) const;
  void finish(uint64_t id);

  uint64_t step_ = 0;
  std::map<uint64_t, Entry> round_;
  std::map<uint64_t, uint64_t> finished_;  // first → one past the last of a run of finished ids
  uint64_t finished_count_ = 0;
};

}  // namespace cohort::roles
