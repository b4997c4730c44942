#include "core/pipeline/team_checkpoint.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <functional>
#include <numeric>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/text_util.h"
#include "core/pipeline/wire.h"

namespace cohort::pipeline {
namespace {

constexpr const char* kBytes = "pending/bytes";

// What a member says of a step: one of these and then the manifest's hash, or the reason.
constexpr char kGood = '+', kDamaged = 'd', kOther = 'o', kMisfit = 'm';

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

template <class Result>
bool is_done(const std::future<Result>& work) {
  return !work.valid() || work.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

}  // namespace

TeamCheckpoint::TeamCheckpoint(Team& team, std::string folder, std::string layout, int64_t keep_last)
    : team_(team), folder_(std::move(folder)), layout_(std::move(layout)), keep_last_(keep_last) {}

TeamCheckpoint::~TeamCheckpoint() {
  if (!save_) return;
  if (team_.size() > 1) {
    save_->cancelled = true;
    return;
  }
  try {
    if (const auto outcome = wait(); !outcome->problem.empty()) log_error("{}", outcome->problem);
  } catch (const std::exception& error) {
    log_error("{}: {}", folder_, error.what());
  }
}

// ---- Saving
// -------------------------------------------------------------------------------------------------------------------------------

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
      problem = error.what();
    }
  }
  // Nobody writes before the leader has emptied the folder.
  if (problem = first_problem(team_.gather(problem)); !problem.empty()) return problem;
  auto save = std::make_unique<Save>();
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
    save->writing = std::async(std::launch::async,
                               [s = save.get(), entries, step, folder = folder_, index = trainers->index(), count = team_.trainer_count()] {
                                 return train::write_shard(folder, step, index, count, entries, s->runs, s->cancelled);
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
    problem = error.what();
  }
  return end(first_problem(team_.gather(problem)));
}

std::optional<TeamCheckpoint::Outcome> TeamCheckpoint::collect() {
  std::string problem, shard;
  try {
    if (save_->writing.valid()) shard = to_bytes(save_->writing.get());
  } catch (const std::exception& error) {
    problem = error.what();
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
  save_->committing = std::async(std::launch::async, [s = save_.get(), this] { train::commit_step(folder_, s->manifest, keep_last_); });
  return std::nullopt;
}

TeamCheckpoint::Outcome TeamCheckpoint::end(const std::string& problem) {
  const Outcome outcome{static_cast<int64_t>(save_->manifest.step()), problem, save_->clock.seconds()};
  save_.reset();
  return outcome;
}

// ---- Restoring
// ----------------------------------------------------------------------------------------------------------------------------

std::string TeamCheckpoint::examine(int64_t step, const std::string& stage, const std::string& config_hash, const TeamState& state,
                                    std::optional<train::SavedStep>& found) const {
  try {
    found.emplace(train::step_folder(folder_, step));
    if (!train::belongs(found->manifest(), step, stage, config_hash))
      return kOther + std::string("it belongs to another configuration of the stage");
    if (const std::string why = misfit(*found, state, team_.leads()); !why.empty())
      return kMisfit + fmt::format("{}. It was saved by: {}. This run: {}", why, printable(found->manifest().layout(), 400), layout_);
    TeamState only_looks = state;  // shares the tensors, which stay as they are
    read_parts(*found, only_looks, false);
    return kGood + found->hash();
  } catch (const std::exception& error) {
    return kDamaged + std::string(error.what());
  }
}

std::optional<records::CheckpointManifest> TeamCheckpoint::restore(const std::string& stage, const std::string& config_hash,
                                                                   TeamState& state) {
  std::string steps;
  if (team_.leads()) {
    for (const int64_t step : train::steps_in(folder_)) steps += std::to_string(step) + ",";
    if (const std::string odd = train::latest_problem(folder_); !odd.empty()) log_warn("{}; ignored, the step folders count", odd);
  }
  std::vector<int64_t> damaged;
  for (const int64_t step : to_steps(team_.gather(steps)[0])) {
    std::optional<train::SavedStep> found;
    const auto all = team_.gather(examine(step, stage, config_hash, state, found));
    const auto worst =
        std::find_if(all.begin(), all.end(), [&](const std::string& a) { return a.empty() || a != all[0] || a[0] != kGood; });
    if (worst == all.end()) {
      read_parts(*found, state, true);
      if (team_.leads())
        for (const int64_t bad : damaged) train::set_aside(folder_, bad);
      return found->manifest();
    }
    const std::string path = train::step_folder(folder_, step);
    // A member's own damage goes before what another one says of the same step.
    const auto hurt = std::find_if(all.begin(), all.end(), [](const std::string& a) { return a.starts_with(kDamaged); });
    const auto& said = hurt != all.end() ? *hurt : all[0][0] != kGood ? all[0] : *worst;
    if (said[0] == kGood) throw Fault(path + ": ranks read different manifests there; is the run folder shared by all hosts?");
    if (said[0] == kMisfit) throw InputError(path + ": " + said.substr(1));
    if (said[0] == kDamaged) damaged.push_back(step);
    if (team_.leads()) log_warn("{}: skipped, rank {}: {}", path, &said - all.data(), said.substr(1));
  }
  return std::nullopt;
}

}  // namespace cohort::pipeline
