#include "distributed/roles/coordinator.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "core/base/error.h"

namespace cohort::roles {

records::Assignment assign_groups(uint64_t step, std::vector<uint64_t> group_ids, int ranks) {
  if (ranks < 1) throw Fault(fmt::format("step {}: groups cannot be assigned to {} ranks", step, ranks));
  std::sort(group_ids.begin(), group_ids.end());
  const auto twice = std::adjacent_find(group_ids.begin(), group_ids.end());
  if (twice != group_ids.end()) throw Fault(fmt::format("step {}: group {} is to be assigned twice", step, *twice));

  records::Assignment assignment;
  assignment.set_step(step);
  const size_t share = group_ids.size() / static_cast<size_t>(ranks);
  const size_t longer = group_ids.size() % static_cast<size_t>(ranks);
  size_t next = 0;
  for (size_t rank = 0; rank < static_cast<size_t>(ranks); ++rank) {
    const size_t end = next + share + (rank < longer ? 1 : 0);
    for (; next < end; ++next) {
      assignment.add_group_ids(group_ids[next]);
      assignment.add_ranks(static_cast<uint32_t>(rank));
    }
  }
  return assignment;
}

records::Assignment parse_assignment(const std::string& bytes, uint64_t step, int ranks) {
  records::Assignment assignment;
  if (!assignment.ParseFromString(bytes)) throw Fault(fmt::format("step {}: the coordinator's assignment is not readable", step));
  if (assignment.step() != step) {
    throw Fault(fmt::format("step {}: the coordinator's assignment is for step {}", step, assignment.step()));
  }
  if (assignment.group_ids_size() != assignment.ranks_size()) {
    throw Fault(
        fmt::format("step {}: the assignment has {} groups and {} ranks", step, assignment.group_ids_size(), assignment.ranks_size()));
  }
  for (int i = 0; i < assignment.ranks_size(); ++i) {
    if (assignment.ranks(i) >= static_cast<uint32_t>(ranks)) {
      throw Fault(fmt::format("step {}: group {} is assigned to rank {} of {}", step, assignment.group_ids(i), assignment.ranks(i), ranks));
    }
    if (i > 0 && assignment.group_ids(i) <= assignment.group_ids(i - 1)) {
      throw Fault(fmt::format("step {}: the assignment's groups do not ascend at group {}", step, assignment.group_ids(i)));
    }
  }
  return assignment;
}

void Ledger::assign(const records::Assignment& assignment) {
  if (!round_.empty() && assignment.step() != step_) {
    const auto& [id, entry] = *round_.begin();
    throw Fault(fmt::format("step {}: group {}, assigned to rank {}, was never settled, and step {} begins", step_, id, entry.rank,
                            assignment.step()));
  }
  step_ = assignment.step();
  for (int i = 0; i < assignment.group_ids_size(); ++i) {
    const uint64_t id = assignment.group_ids(i);
    const int rank = static_cast<int>(assignment.ranks(i));
    if (is_finished(id) || !round_.emplace(id, Entry{rank, State::kAssigned}).second) {
      throw Fault(fmt::format("step {}: group {} is assigned to rank {} and was assigned before in this stage", step_, id, rank));
    }
  }
}

void Ledger::put_back(const std::vector<uint64_t>& group_ids) {
  for (uint64_t id : group_ids) {
    const auto entry = round_.find(id);
    if (entry == round_.end() || entry->second.state != State::kAssigned) {
      throw Fault(fmt::format("step {}: group {} is put back, which {}", step_, id,
                              entry != round_.end() ? "was rolled out"
                              : is_finished(id)     ? "was trained before"
                                                    : "was not assigned"));
    }
    round_.erase(entry);
  }
}

Ledger::Entry& Ledger::find(int rank, uint64_t id, const char* doing) {
  const auto entry = round_.find(id);
  if (entry == round_.end()) {
    throw Fault(fmt::format("step {}: rank {} {} group {}, which {}", step_, rank, doing, id,
                            is_finished(id) ? "was trained before" : "was not assigned"));
  }
  return entry->second;
}

void Ledger::rolled_out(int rank, const std::vector<uint64_t>& group_ids) {
  for (uint64_t id : group_ids) {
    Entry& entry = find(rank, id, "rolled out");
    if (entry.rank != rank) {
      throw Fault(fmt::format("step {}: rank {} rolled out group {}, which was assigned to rank {}", step_, rank, id, entry.rank));
    }
    if (entry.state != State::kAssigned) throw Fault(fmt::format("step {}: rank {} rolled out group {} twice", step_, rank, id));
    entry.state = State::kRolledOut;
  }
}

void Ledger::trained(int rank, const std::vector<uint64_t>& group_ids) {
  for (uint64_t id : group_ids) {
    Entry& entry = find(rank, id, "trains");
    if (entry.state == State::kTrained) {
      throw Fault(fmt::format("step {}: rank {} trains group {}, which another rank trains too", step_, rank, id));
    }
    if (entry.state == State::kAssigned) {
      throw Fault(fmt::format("step {}: rank {} trains group {}, which rank {} has not rolled out", step_, rank, id, entry.rank));
    }
    entry.state = State::kTrained;
  }
}

void Ledger::close_round() {
  for (const auto& [id, entry] : round_) {
    if (entry.state == State::kAssigned) {
      throw Fault(fmt::format("step {}: group {}, assigned to rank {}, was not rolled out", step_, id, entry.rank));
    }
    if (entry.state == State::kRolledOut) {
      throw Fault(fmt::format("step {}: group {}, rolled out by rank {}, is trained by nobody", step_, id, entry.rank));
    }
  }
  for (const auto& [id, entry] : round_) finish(id);
  round_.clear();
}

bool Ledger::is_finished(uint64_t id) const {
  const auto after = finished_.upper_bound(id);
  return after != finished_.begin() && id < std::prev(after)->second;
}

void Ledger::finish(uint64_t id) {
  ++finished_count_;
  const auto after = finished_.upper_bound(id);
  const auto before = after == finished_.begin() ? finished_.end() : std::prev(after);
  const bool joins_after = after != finished_.end() && after->first == id + 1;
  const uint64_t end = joins_after ? after->second : id + 1;
  if (joins_after) finished_.erase(after);
  if (before != finished_.end() && before->second == id) {
    before->second = end;
  } else {
    finished_.emplace(id, end);
  }
}

}  // namespace cohort::roles
