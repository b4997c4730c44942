#pragma once
/// Batches whose loss or gradient was not finite: written down when they are skipped, computed again by `cohort replay`.
///
/// OUTPUT/bad_batches/NAME.pb (records.SkippedBatch) names NAME.safetensors beside it: the weights that met the batch. Together they are
/// enough; no checkpoint, config or data file is read again.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/pipeline/preference.h"
#include "core/pipeline/rl_batch.h"
#include "core/records/records.pb.h"

namespace cohort::pipeline {

/// Dumps kept in a run folder; the oldest make room.
constexpr size_t kMaxSkippedBatches = 8;

records::SkippedSample to_skipped(const TrainSample& sample, uint64_t group_id, uint32_t index);
records::SkippedSample to_skipped(const records::Demonstration& demonstration, uint64_t position);
records::SkippedSample to_skipped(const Comparison& comparison, uint64_t position);

/// Writes FOLDER/NAME.safetensors, then FOLDER/NAME.pb, each durable and atomic, replacing files of that name; removes the oldest dumps
/// beyond kMaxSkippedBatches. Returns the path of the .pb. Fault on a failing disk.
std::string write_skipped_batch(const std::string& folder, const std::string& name, records::SkippedBatch batch, const at::Tensor& values,
                                const at::Tensor& router_biases);

/// InputError for a file that is not whole.
records::SkippedBatch read_skipped_batch(const std::string& path);

/// What one sequence, or all of them, contribute to the batch's loss.
struct Replayed {
  double loss = 0.0;
  double grad_norm = 0.0;
  bool finite() const;
};

struct Replay {
  int64_t bad_weights = 0;  ///< values of the weights that are not finite
  std::vector<Replayed> samples;
  Replayed batch;  ///< losses and gradients added in the order of the samples
};

/// Loads the weights that the dump at `path` names and computes loss and gradient of each sequence alone. InputError where the weights or
/// the recipe in the dump do not fit.
Replay replay(const records::SkippedBatch& batch, const std::string& path);

}  // namespace cohort::pipeline
