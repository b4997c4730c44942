#include "core/pipeline/team_checkpoint.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <functional>
#include <new>
#include <numeric>
#include <thread>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/text_util.h"
#include "core/pipeline/wire.h"

namespace cohort::pipeline {
namespace {

/// For those who read it: what() of memory that could not be had is a type's name.
std::string cause_of(const std::exception& error) {
  return dynamic_cast<const std::bad_alloc*>(&error) != nullptr ? "out of memory" : error.what();
}

constexpr const char* kBytes = "pending/bytes";

// What a member says of a step: one of these and then the manifest's hash, or the reason.
constexpr char kGood = '+', kDamaged = 'd', kOther = 'o', kMisfit = 'm', kFailed = 'f';

std::string tensor_name(const Section& section, size_t i) { return section.name + "/" + section.tensors[i].first; }

int64_t count_of(const std::vector<int64_t>& shape) { return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>()); }

std::vector<records::TensorEntry> entries_of(const std::vector<Section>& sections) {
  std::vector<records::TensorEntry> entries;
  for (const Section& section : sections)
    for (size_t i = 0; i < section.tensors.size(); ++i)
      entries.push_back(train::tensor_entry(tensor_name(section, i), "F32", section.tensors[i].second));
  return entries;
}

/// A part of a section meets the tensor that is the `entry`-th of entries_of(): elements [begin, begin + count) at `data`.
using Visit = std::function<void(size_t entry, int64_t begin, int64_t count, float* data)>;

void for_each_run(const TeamState& state, const Visit& visit) {
  for (const SectionPart& part : state.parts) {
    size_t entry = 0;
    for (size_t s = 0; s < part.section; ++s) entry += state.sections[s].tensors.size();
    const int64_t end = part.begin + part.values.numel();
    int64_t first = 0;  // of the tensor, in the section
    for (const auto& [name, shape] : state.sections[part.section].tensors) {
      const int64_t last = first + count_of(shape), from = std::max(first, part.begin), to = std::min(last, end);
      if (from < to) visit(entry, from - first, to - from, part.values.data_ptr<float>() + (from - part.begin));
      first = last, ++entry;
    }
  }
}

/// Why the step is not one of this state; "" where it is.
std::string misfit(const train::SavedStep& step, const TeamState& state, bool all) {
  const auto wanted = entries_of(state.sections);
  const auto words = [](const records::TensorEntry& e) { return fmt::format("{} [{}]", printable(e.dtype()), fmt::join(e.shape(), ", ")); };
  for (const auto& entry : wanted) {
    const auto found = step.find(entry.name());
    // A member that only rolls out does not know the reference's sections; the leader looks at all.
    if (!found) return fmt::format("tensor '{}': expected {}, found none", entry.name(), words(entry));
    if (const auto& saved = step.manifest().tensors(static_cast<int>(*found)); words(saved) != words(entry))
      return fmt::format("tensor '{}': expected {}, found {}", entry.name(), words(entry), words(saved));
  }
  const auto bytes = step.find(kBytes);
  if (bytes && step.manifest().tensors(static_cast<int>(*bytes)).dtype() != "U8") return std::string(kBytes) + ": expected U8";
  const size_t known = wanted.size() + (bytes ? 1 : 0);
  return all && known != static_cast<size_t>(step.manifest().tensors_size())
             ? fmt::format("expected {} tensors, found {}", known, step.manifest().tensors_size())
             : "";
}

/// Verifies what the member needs (`fill` false), or brings it in.
void read_parts(const train::SavedStep& step, TeamState& state, bool fill) {
  const auto entries = entries_of(state.sections);
  for_each_run(state, [&](size_t entry, int64_t begin, int64_t count, float* data) {
    step.read(step.find(entries[entry].name()).value(), begin, count, fill ? data : nullptr);
  });
  const auto bytes = step.find(kBytes);
  if (!bytes) return;
  if (fill) state.bytes.resize(static_cast<size_t>(step.elements(*bytes)));
  step.read(*bytes, 0, step.elements(*bytes), fill ? state.bytes.data() : nullptr);
}

std::vector<int64_t> to_steps(const std::string& words) {
  std::vector<int64_t> steps;
  const char* at = words.data();
  const char* end = at + words.size();
  for (int64_t step = 0; at < end; ++at) {
    at = std::from_chars(at, end, step).ptr;
    steps.push_back(step);
  }
  return steps;
}

bool is_done(const std::future<std::string>& work, std::chrono::seconds patience = {}) {
  return !work.valid() || work.wait_for(patience) == std::future_status::ready;
}

/// As std::async, but nobody waits for the thread when the future goes. So `work` must own all that it uses.
std::future<std::string> in_background(std::function<std::string()> work) {
  std::promise<std::string> promise;
  auto result = promise.get_future();
  std::thread([work = std::move(work), promise = std::move(promise)]() mutable {
    try {
      promise.set_value(work());
    } catch (...) {
      promise.set_exception(std::current_exception());
    }
  }).detach();
  return result;
}

/// The member whose word counts; all.size() where the step is good, and the same, to all.
size_t spokesman(const std::vector<std::string>& all) {
  const auto first = [&](char kind) {
    return static_cast<size_t>(std::find_if(all.begin(), all.end(), [&](const auto& a) { return a.starts_with(kind); }) - all.begin());
  };
  // A failure goes before damage, and a member's own damage before what another one says of the same step.
  if (const size_t rank = first(kFailed); rank < all.size()) return rank;
  if (const size_t rank = first(kDamaged); rank < all.size()) return rank;
  if (!all[0].starts_with(kGood)) return 0;
  return static_cast<size_t>(std::find_if(all.begin(), all.end(), [&](const auto& a) { return a != all[0]; }) - all.begin());
}

}  // namespace

TeamCheckpoint::TeamCheckpoint(Team& team, std::string folder, std::string layout, int64_t keep_last)
    : team_(team), folder_(std::move(folder)), layout_(std::move(layout)), keep_last_(keep_last) {}

TeamCheckpoint::~TeamCheckpoint() {
  if (!save_) return;
  if (team_.size() > 1) {
    save_->cancelled = true;
    if (!is_done(save_->writing, std::chrono::seconds(1)) || !is_done(save_->committing, std::chrono::seconds(1)))
      log_warn("{}: the disk does not answer; the save of step {} is left as it is", folder_, save_->manifest.step());
    return;
  }
  try {
    if (const auto outcome = wait(); !outcome->problem.empty()) log_error("{}", outcome->problem);
  } catch (const std::exception& error) {
    log_error("{}: {}", folder_, cause_of(error));
  }
}

// ---- Saving ----

std::string TeamCheckpoint::first_problem(const std::vector<std::string>& all) {
  for (size_t rank = 0; rank < all.size(); ++rank)
    if (!all[rank].empty()) return fmt::format("rank {}: {}", rank, all[rank]);
  return "";
}

std::string TeamCheckpoint::begin(records::CheckpointManifest manifest, const TeamState& state) {
  if (save_) throw Fault(folder_ + ": a second checkpoint was begun before the first had ended");
  const uint64_t step = manifest.step();
  std::string problem;
  if (team_.leads()) {
    try {
      train::begin_step(folder_, step);
    } catch (const std::exception& error) {
      problem = cause_of(error);
    }
  }
  // Nobody writes before the leader has emptied the folder.
  if (problem = first_problem(team_.gather(problem)); !problem.empty()) return problem;
  auto save = std::make_shared<Save>();
  save->manifest = std::move(manifest);
  save->manifest.set_layout(layout_);
  if (Team* trainers = team_.trainers()) {
    save->copy.sections = state.sections;
    for (const SectionPart& part : state.parts) save->copy.parts.push_back({part.section, part.begin, part.values.clone()});
    auto entries = entries_of(state.sections);
    for_each_run(save->copy, [&](size_t entry, int64_t begin, int64_t count, float* data) {
      save->runs.push_back({static_cast<uint32_t>(entry), begin, count, data});
    });
    if (team_.leads() && !state.bytes.empty()) {
      save->copy.bytes = state.bytes;
      const auto size = static_cast<int64_t>(state.bytes.size());
      save->runs.push_back({static_cast<uint32_t>(entries.size()), 0, size, save->copy.bytes.data()});
      entries.push_back(train::tensor_entry(kBytes, "U8", {size}));
    }
    save->manifest.mutable_tensors()->Assign(entries.begin(), entries.end());
    save->writing = in_background([save, entries, step, folder = folder_, index = trainers->index(), count = team_.trainer_count()] {
      return to_bytes(train::write_shard(folder, step, index, count, entries, save->runs, save->cancelled));
    });
  }
  save_ = std::move(save);
  return "";
}

std::optional<TeamCheckpoint::Outcome> TeamCheckpoint::poll() {
  if (!save_) return std::nullopt;
  const bool done = save_->all_written ? is_done(save_->committing) : is_done(save_->writing);
  for (const std::string& other : team_.gather(done ? "done" : ""))
    if (other.empty()) return std::nullopt;
  return advance();
}

std::optional<TeamCheckpoint::Outcome> TeamCheckpoint::wait() {
  if (!save_) return std::nullopt;
  if (!save_->all_written)
    if (auto outcome = advance()) return outcome;
  return advance();
}

std::optional<TeamCheckpoint::Outcome> TeamCheckpoint::advance() {
  if (!save_->all_written) return collect();
  std::string problem;
  try {
    if (save_->committing.valid()) save_->committing.get();
  } catch (const std::exception& error) {
    problem = cause_of(error);
  }
  return end(first_problem(team_.gather(problem)));
}

std::optional<TeamCheckpoint::Outcome> TeamCheckpoint::collect() {
  std::string problem, shard;
  try {
    if (save_->writing.valid()) shard = save_->writing.get();
  } catch (const std::exception& error) {
    problem = cause_of(error);
  }
  save_->copy = {}, save_->runs.clear();
  if (problem = first_problem(team_.gather(problem)); !problem.empty()) {
    if (team_.leads()) train::abandon_step(folder_, save_->manifest.step());
    return end(problem);
  }
  const auto shards = team_.gather(shard);
  save_->all_written = true;
  if (!team_.leads()) return std::nullopt;
  for (int i = 0; i < team_.trainer_count(); ++i)
    *save_->manifest.add_shards() = from_bytes<records::CheckpointShard>(shards[static_cast<size_t>(i)], "checkpoint");
  save_->committing = in_background([save = save_, folder = folder_, keep_last = keep_last_] {
    train::commit_step(folder, save->manifest, keep_last);
    return std::string();
  });
  return std::nullopt;
}

TeamCheckpoint::Outcome TeamCheckpoint::end(const std::string& problem) {
  const Outcome outcome{static_cast<int64_t>(save_->manifest.step()), problem, save_->clock.seconds()};
  save_.reset();
  return outcome;
}

// ---- Restoring ----

std::vector<int64_t> TeamCheckpoint::listed_steps() {
  std::string steps;
  if (team_.leads()) {
    try {
      for (const int64_t step : train::steps_in(folder_)) steps += std::to_string(step) + ",";
      if (const std::string odd = train::latest_problem(folder_); !odd.empty()) log_warn("{}; ignored, the step folders count", odd);
    } catch (const std::exception& error) {
      steps = kFailed + cause_of(error);
    }
  }
  steps = team_.gather(steps)[0];
  if (steps.starts_with(kFailed)) throw Fault("rank 0: " + steps.substr(1));
  return to_steps(steps);
}

std::string TeamCheckpoint::examine(int64_t step, const std::string& stage, const std::string& config_hash, const TeamState& state,
                                    const Check& check, std::optional<train::SavedStep>& found) const {
  try {
    found.emplace(train::step_folder(folder_, step));
    if (!train::belongs(found->manifest(), step, stage, config_hash))
      return kOther + std::string("it belongs to another configuration of the stage");
    if (check) check(found->manifest());
    if (const std::string why = misfit(*found, state, team_.leads()); !why.empty())
      return kMisfit + fmt::format("{}. It was saved by: {}. This run: {}", why, printable(found->manifest().layout(), 400), layout_);
    TeamState only_looks = state;  // shares the tensors, which stay as they are
    read_parts(*found, only_looks, false);
    return kGood + found->hash();
  } catch (const InputError& error) {
    return kDamaged + cause_of(error);
  } catch (const std::exception& error) {
    return kFailed + cause_of(error);
  }
}

bool TeamCheckpoint::is_damage(const std::string& path, size_t rank, const std::string& said) const {
  if (said[0] == kFailed)
    throw Fault(fmt::format("{}: rank {} could not read it: {}. No checkpoint was removed or renamed; start again, or move this one away",
                            path, rank, said.substr(1)));
  if (said[0] == kGood) throw Fault(path + ": ranks read different manifests there; is the run folder shared by all hosts?");
  if (said[0] == kMisfit) throw InputError(path + ": " + said.substr(1));
  if (team_.leads()) log_warn("{}: skipped, rank {}: {}", path, rank, said.substr(1));
  return said[0] == kDamaged;
}

void TeamCheckpoint::set_aside(const std::vector<int64_t>& damaged) const noexcept {
  try {
    for (const int64_t step : damaged) train::set_aside(folder_, step);
  } catch (const std::exception& error) {  // the next commit removes newer steps anyway
    log_warn("{}: a damaged step could not be set aside: {}", folder_, cause_of(error));
  }
}

std::optional<records::CheckpointManifest> TeamCheckpoint::restore(const std::string& stage, const std::string& config_hash,
                                                                   TeamState& state, const Check& check) {
  std::vector<int64_t> damaged;
  for (const int64_t step : listed_steps()) {
    std::optional<train::SavedStep> found;
    const auto all = team_.gather(examine(step, stage, config_hash, state, check, found));
    const size_t rank = spokesman(all);
    if (rank == all.size()) {
      read_parts(*found, state, true);
      if (team_.leads()) set_aside(damaged);
      return found->manifest();
    }
    if (is_damage(train::step_folder(folder_, step), rank, all[rank])) damaged.push_back(step);
  }
  if (damaged.empty()) return std::nullopt;
  throw InputError(
      fmt::format("{}: expected a whole checkpoint of this configuration, found damaged ones only: step_{}. Nothing was "
                  "removed. Put a whole one back, or start the stage again with trainer.resume_mode=disable, or the run with "
                  "--fresh",
                  folder_, fmt::join(damaged, ", step_")));
}

}  // namespace cohort::pipeline
