#pragma once
/// A state of a few hundred bytes that differs at every step, saved in shards; for tests of the checkpoint's files.

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/train/checkpoint.h"

namespace cohort::train {

constexpr const char* kStage = "zero";
constexpr const char* kHash = "0123abcd";

struct SmallState {
  std::vector<records::TensorEntry> tensors = {tensor_entry("values/a", "F32", {6, 5}), tensor_entry("values/b", "F32", {}),
                                               tensor_entry("values/nothing", "F32", {0, 3}), tensor_entry("moment1/a", "F32", {30}),
                                               tensor_entry("pending/bytes", "U8", {7})};
  std::vector<std::string> bytes;  ///< of each tensor

  explicit SmallState(uint64_t step) {
    for (size_t t = 0; t < 4; ++t) {
      std::vector<float> numbers(t == 1 ? 1 : t == 2 ? 0 : 30);
      for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(1000 * step + 100 * t + i) + 0.5f;
      bytes.emplace_back(reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(float));
    }
    bytes.push_back("step " + std::to_string(step % 10) + "!");
  }
};

/// Elements [k/M, (k+1)/M) of every tensor.
inline std::vector<SavedRun> runs_of(const SmallState& state, int k, int shards) {
  std::vector<SavedRun> runs;
  for (uint32_t t = 0; t < state.bytes.size(); ++t) {
    const int64_t width = state.tensors[t].dtype() == "F32" ? 4 : 1, count = static_cast<int64_t>(state.bytes[t].size()) / width;
    const int64_t begin = count * k / shards, end = count * (k + 1) / shards;
    if (end > begin) runs.push_back({t, begin, end - begin, state.bytes[t].data() + begin * width});
  }
  return runs;
}

inline records::CheckpointManifest small_manifest(uint64_t step) {
  records::CheckpointManifest m;
  m.set_stage(kStage), m.set_step(step), m.set_config_hash(kHash), m.set_question_cursor(1000 + step), m.set_seed(17);
  m.set_tokens(10 * step), m.set_seconds(0.5), m.set_metrics_bytes(7 * step), m.set_samples_bytes(9 * step),
      m.set_optimizer_steps(2 * step);
  m.mutable_eval_start()->set_accuracy(0.25);
  return m;
}

inline void save_small(const std::string& folder, uint64_t step, int64_t keep_last = 2, int shards = 2,
                       records::CheckpointManifest manifest = {}) {
  const SmallState state(step);
  const std::atomic<bool> cancelled = false;
  if (manifest.stage().empty()) manifest = small_manifest(step);
  manifest.mutable_tensors()->Assign(state.tensors.begin(), state.tensors.end());
  begin_step(folder, step);
  try {
    for (int k = 0; k < shards; ++k)
      *manifest.add_shards() = write_shard(folder, step, k, shards, state.tensors, runs_of(state, k, shards), cancelled);
  } catch (...) {
    abandon_step(folder, step);
    throw;
  }
  commit_step(folder, manifest, keep_last);
}

/// The bytes of every tensor; InputError where anything does not verify.
inline std::vector<std::string> contents(const SavedStep& step) {
  std::vector<std::string> bytes;
  for (int t = 0; t < step.manifest().tensors_size(); ++t) {
    const auto index = static_cast<uint32_t>(t);
    bytes.emplace_back(static_cast<size_t>(step.elements(index) * (step.manifest().tensors(t).dtype() == "F32" ? 4 : 1)), '\0');
    step.read(index, 0, step.elements(index), bytes.back().data());
  }
  return bytes;
}

/// The newest step that verifies; -1: none. `why`: what was wrong with newer ones. Fault when a step verifies and is not what was saved.
inline int64_t newest_loadable(const std::string& folder, std::string* why = nullptr) {
  for (const int64_t step : steps_in(folder)) {
    try {
      const SavedStep found(step_folder(folder, step));
      const auto bytes = contents(found);
      if (bytes != SmallState(static_cast<uint64_t>(step)).bytes) throw Fault(found.path() + ": damage was not found");
      if (belongs(found.manifest(), step, kStage, kHash)) return step;
      if (why) *why += "it belongs to something else; ";
    } catch (const InputError& error) {
      if (why) *why += std::string(error.what()) + "; ";
    }
  }
  return -1;
}

}  // namespace cohort::train
