#include "core/pipeline/partial_batch.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.h"

namespace cohort::pipeline {

bool is_done(const records::Group& group) {
  return !group.samples().empty() && std::all_of(group.samples().begin(), group.samples().end(), [](const records::Sample& s) {
    return s.finish_reason() != records::FINISH_REASON_UNSPECIFIED;
  });
}

PartialBatch::PartialBatch(const Limits& limits, uint64_t step, const std::vector<records::Group>& carried) : limits_(limits), step_(step) {
  for (const records::Group& g : carried)
    if (!open_.emplace(g.id(), g).second) throw Fault(fmt::format("step {}: group {} is carried twice", step, g.id()));
}

std::vector<uint64_t> PartialBatch::next_round(uint64_t& cursor) {
  for (; static_cast<int64_t>(open_.size() + done_.size()) < limits_.under_way; ++cursor, ++new_questions_)
    if (done_.count(cursor) > 0 || left_.count(cursor) > 0 || !open_.emplace(cursor, records::Group()).second)
      throw Fault(fmt::format("step {}: question {} would be asked twice", step_, cursor));
  return open();
}

const records::Group* PartialBatch::so_far(uint64_t id) const {
  const records::Group& group = open_.at(id);
  return group.samples().empty() ? nullptr : &group;
}

void PartialBatch::take(records::Group group, bool informative) {
  const auto place = open_.find(group.id());
  if (place == open_.end()) throw Fault(fmt::format("step {}: group {} is not of this round", step_, group.id()));
  if (!is_done(group)) {
    place->second = std::move(group);
    return;
  }
  open_.erase(place);
  (informative ? done_ : left_).emplace(group.id(), std::move(group));
}

std::vector<uint64_t> PartialBatch::open() const {
  std::vector<uint64_t> ids;
  for (const auto& [id, group] : open_) ids.push_back(id);
  return ids;
}

/// Its oldest token would be too old for the next batch.
bool PartialBatch::last_chance(const records::Group& group) const {
  return std::any_of(group.samples().begin(), group.samples().end(),
                     [&](const records::Sample& s) { return s.policy_step() + limits_.max_staleness <= step_; });
}

bool PartialBatch::enough() const {
  for (const auto& [id, group] : open_)
    if (last_chance(group)) return false;
  const auto done = static_cast<int64_t>(done_.size());
  return done >= limits_.batch || done + static_cast<int64_t>(left_.size()) >= limits_.most_done;
}

std::vector<uint64_t> PartialBatch::close(records::RolloutBatch& batch) const {
  std::vector<uint64_t> waiting;
  auto leaving = left_;
  uint64_t dropped = 0;
  for (const auto& [id, group] : done_) {  // by age
    const bool place = batch.chosen_size() < limits_.batch;
    if (!place && !last_chance(group)) {
      waiting.push_back(id);
      continue;
    }
    if (place)
      batch.add_chosen(id);
    else
      ++dropped;
    leaving.emplace(id, group);
  }
  for (auto& [id, group] : leaving) *batch.add_asked() = std::move(group);
  for (const auto& [id, group] : open_) *batch.add_carried() = group;
  batch.set_dropped(dropped), batch.set_new_questions(new_questions_);
  batch.set_carried_groups(open_.size() + waiting.size());
  return waiting;
}

}  // namespace cohort::pipeline
