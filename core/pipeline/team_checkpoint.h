#pragma once
/// Saving and restoring the state of a stage with all members of a team.
///
/// Each member that trains writes a shard of its own, from copies and in the background, while training goes on; when all have written, the
/// leader commits, in the background as well. When reading, each member takes what it needs, whatever the layout was that saved it. The
/// files: core/train/checkpoint.h.

#include <ATen/core/Tensor.h>

#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/stopwatch.h"
#include "core/pipeline/team.h"
#include "core/train/checkpoint.h"

namespace cohort::pipeline {

/// Numbers that lie one after the other, cut into named tensors: what the flat buffer of a model's parameters is.
struct Section {
  std::string name;
  std::vector<std::pair<std::string, std::vector<int64_t>>> tensors;  ///< name, shape
};

/// Numbers [begin, begin + values.numel()) of a section, in this process.
struct SectionPart {
  size_t section = 0;
  int64_t begin = 0;
  at::Tensor values;  ///< flat contiguous fp32 on the CPU
};

struct TeamState {
  std::vector<Section> sections;   ///< the same on every member that trains
  std::vector<SectionPart> parts;  ///< of this member: what it saves, or where it wants what was saved
  std::string bytes;               ///< saved by the leader, restored to all
};

class TeamCheckpoint {
 public:
  /// Borrows the team. `layout` describes how the run is laid out, for messages.
  TeamCheckpoint(Team& team, std::string folder, std::string layout, int64_t keep_last);
  /// A save in flight is given up, as the others may be gone; the next attempt at the step removes what it leaves. Waits a second at most
  /// for this member's part to end: a disk that hangs must not keep a failure from being told. A team of one finishes the save.
  ~TeamCheckpoint();
  TeamCheckpoint(const TeamCheckpoint&) = delete;
  TeamCheckpoint& operator=(const TeamCheckpoint&) = delete;

  /// InputError where counters of a step of this stage and config hash cannot be: it counts as damaged.
  using Check = std::function<void(const records::CheckpointManifest&)>;

  /// Collective. Fills `state` from the newest step that every member can read and verify, and returns its manifest; nullopt when there are
  /// no steps but those of other stages or config hashes. Everything is verified before anything is filled in. Newer steps that any member
  /// found damaged are passed over with a warning that names file and reason, and set aside. InputError on all members where the newest
  /// step is one of another model, and where steps are damaged and none is good. Fault on all members where one could not look (a failing
  /// disk, no memory): that says nothing of the step. Both leave everything as it was.
  std::optional<records::CheckpointManifest> restore(const std::string& stage, const std::string& config_hash, TeamState& state,
                                                     const Check& check = {});

  /// Of a save that has ended.
  struct Outcome {
    int64_t step = 0;
    std::string problem;   ///< "": committed. Else rank and cause; nothing of it is left, and older steps are as they were
    double seconds = 0.0;  ///< from begin() until it was committed, or given up
  };

  /// Collective. Copies the parts of `state` and begins to write them; the parts of all members together must be every section once. Stage
  /// and counters come from the leader's `manifest`; the step is the same on all. No save may be in flight. Returns a problem that was
  /// there at once, or "".
  std::string begin(records::CheckpointManifest manifest, const TeamState& state);

  /// Collective; a small gather while a save is in flight (two or three when all have written, or it has ended), nothing otherwise. The
  /// outcome, once it is committed or given up.
  std::optional<Outcome> poll();
  /// Collective. The same, and waits for it.
  std::optional<Outcome> wait();

 private:
  struct Save {
    records::CheckpointManifest manifest;  ///< tensors on every member, the rest on the leader
    TeamState copy;
    std::vector<train::SavedRun> runs;  ///< in `copy`
    Stopwatch clock;
    std::atomic<bool> cancelled = false;
    bool all_written = false;
    std::future<std::string> writing;     ///< the shard's record, where the member trains
    std::future<std::string> committing;  ///< on the leader, once all have written
  };
  /// Collective. Every member is done with its part of what goes on. Nothing when the commit begins.
  std::optional<Outcome> advance();
  std::optional<Outcome> collect();
  Outcome end(const std::string& problem);
  /// The first member's problem with rank and cause; "" when none has any.
  static std::string first_problem(const std::vector<std::string>& all);
  /// Collective. The numbers of the steps that the leader sees, newest first.
  std::vector<int64_t> listed_steps();
  /// What keeps this member from using the step; its first letter says of which kind.
  std::string examine(int64_t step, const std::string& stage, const std::string& config_hash, const TeamState& state, const Check& check,
                      std::optional<train::SavedStep>& found) const;
  /// Throws where it ends the run that the member `rank` says this of a step; true where the step is damaged.
  bool is_damage(const std::string& path, size_t rank, const std::string& said) const;
  void set_aside(const std::vector<int64_t>& damaged) const noexcept;

  Team& team_;
  std::string folder_, layout_;
  int64_t keep_last_;
  std::shared_ptr<Save> save_;  ///< the thread that works for it has it too
};

}  // namespace cohort::pipeline
