#pragma once
/// Saving and finding the state of a stage.
///
/// FOLDER/step_N/{state.safetensors, manifest.json} and FOLDER/LATEST (for people; loading looks at the folders). Commit order: data,
/// manifest, folder (each fsync'd), rename of the folder, then LATEST, then deletion of old steps; never fewer than two are kept. A kill at
/// any point leaves step N or N-1 loadable. Loading checks sizes and hashes before any use, takes the newest step that verifies, and says
/// what it skipped.

#include <ATen/core/Tensor.h>

#include <map>
#include <optional>
#include <string>

#include "core/records/records.pb.h"

namespace cohort::train {

struct Checkpoint {
  records::CheckpointManifest manifest;  ///< files are filled in by save
  std::map<std::string, at::Tensor> tensors;
};

/// Blocks until durable. One writer, whose steps rise: newer ones, which the writer did not accept when it was restored, are removed. Fault
/// on a failing or full disk; older steps stay as they are, nothing of the new one is left.
void save_checkpoint(const std::string& folder, Checkpoint checkpoint, int64_t keep_last);

/// The newest valid checkpoint with this stage and config hash; nullopt when there is none.
std::optional<Checkpoint> load_checkpoint(const std::string& folder, const std::string& stage, const std::string& config_hash);

/// Number of the newest step of this stage and config hash, as far as manifests and sizes tell: hashes are not compared. -1 when there is
/// none.
int64_t newest_step(const std::string& folder, const std::string& stage, const std::string& config_hash);

}  // namespace cohort::train
