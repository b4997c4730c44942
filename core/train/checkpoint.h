#pragma once
/// The files of a saved state: how they are written, committed, found and verified.
///
///   FOLDER/step_N/shard_K_of_M.bin   pieces of tensors, raw and little-endian, one after the other; one file per writer, K from 0
///   FOLDER/step_N/manifest.json      records::CheckpointManifest: the tensors, and which piece of which lies where, with its hash
///   FOLDER/step_N/manifest.xxh3      the manifest's hash
///   FOLDER/LATEST                    for people; loading looks at the folders
///
/// A tensor has a name and a shape; how its elements are spread over shards says nothing about who reads them, so a state saved by any
/// number of writers is read by any other. Commit order: shards, manifest, its hash, folder (each fsync'd), rename from step_N.tmp, fsync,
/// then LATEST, then deletion of old steps; never fewer than two are kept. A kill at any point leaves step N or N-1 loadable.
///
/// What is read is not trusted: SavedStep checks the manifest's hash, that the folder holds exactly the files that the manifest lists, that
/// these have the size of their pieces, and that the pieces hold every element of every tensor once; read() compares hashes before it hands
/// out anything. Nothing here is collective: core/pipeline/team_checkpoint.h has many writers and readers.

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/records/records.pb.h"

namespace cohort::train {

constexpr int64_t kPieceElements = int64_t{4} << 20;  ///< at most, in one piece

/// `dtype`: "F32" or "U8".
records::TensorEntry tensor_entry(const std::string& name, const std::string& dtype, const std::vector<int64_t>& shape);

/// Elements [begin, begin + count) of the tensor at position `tensor` of a list, in memory.
struct SavedRun {
  uint32_t tensor = 0;
  int64_t begin = 0, count = 0;
  const void* data = nullptr;
};

// ---- Writing. All block. Fault on a full or failing disk. ----

/// Makes the empty folder FOLDER/step_N.tmp; what a killed save left there is removed.
void begin_step(const std::string& folder, uint64_t step);

/// Writes shard `index` of `count` into step_N.tmp and makes it durable. The file may not exist, and no link is followed. Ends with a Fault
/// soon after `cancelled` was set. Several may run at once, in one process or in many.
records::CheckpointShard write_shard(const std::string& folder, uint64_t step, int index, int count,
                                     const std::vector<records::TensorEntry>& tensors, const std::vector<SavedRun>& runs,
                                     const std::atomic<bool>& cancelled);

/// `manifest` lists tensors and shards, which must be on disk. One writer, whose steps rise: newer steps, which it did not accept when it
/// was restored, are removed. After a Fault nothing of the step is left, and older ones are as they were.
void commit_step(const std::string& folder, records::CheckpointManifest manifest, int64_t keep_last);

/// Removes step_N.tmp.
void abandon_step(const std::string& folder, uint64_t step) noexcept;

// ---- Reading ----

/// Numbers of the step_N folders, newest first. Links and whatever else lies there (step_N.tmp of a killed save) are no steps.
/// A folder that is not there has none; Fault where it cannot be read.
std::vector<int64_t> steps_in(const std::string& folder);

std::string step_folder(const std::string& folder, int64_t step);

/// step_N is not used any more but kept to be looked at, as step_N.damaged, for as long as a step before it is kept.
void set_aside(const std::string& folder, int64_t step);

/// What is odd about LATEST, in words; "" when it names a step that is there, or when there is neither. A step is never chosen by it.
std::string latest_problem(const std::string& folder);

/// A step whose manifest and files fit together.
class SavedStep {
 public:
  /// `path`: of the step's folder. InputError with what is wrong. Reads the manifest and the folder's names and sizes only.
  explicit SavedStep(const std::string& path);

  const std::string& path() const { return path_; }
  const records::CheckpointManifest& manifest() const { return manifest_; }
  const std::string& hash() const { return hash_; }  ///< of the manifest
  /// Position of the tensor of this name.
  std::optional<uint32_t> find(const std::string& name) const;
  int64_t elements(uint32_t tensor) const;

  /// Elements [begin, begin + count) of a tensor into `out`; null: only verifies the pieces that hold them. InputError on another hash.
  void read(uint32_t tensor, int64_t begin, int64_t count, void* out) const;

  /// XXH3-128 of each tensor's bytes as a whole, in the order of the manifest: the same however it was sharded. Verifies all pieces.
  std::vector<std::string> tensor_hashes() const;

 private:
  struct Place {
    int64_t begin, count;
    int shard, piece;
  };
  void check_files() const;
  void check_pieces();
  void read_piece(uint32_t tensor, const Place& place, std::string& bytes) const;

  std::string path_, hash_;
  records::CheckpointManifest manifest_;
  std::vector<int64_t> elements_;           ///< of each tensor
  std::vector<std::vector<Place>> places_;  ///< of each tensor, ascending; no holes
};

/// Is it the state of this stage, under this configuration, at this step?
bool belongs(const records::CheckpointManifest& manifest, int64_t step, const std::string& stage, const std::string& config_hash);

/// Number of the newest step of this stage and config hash, as far as manifests and sizes tell: shards are not read. -1: none.
int64_t newest_step(const std::string& folder, const std::string& stage, const std::string& config_hash);

}  // namespace cohort::train
