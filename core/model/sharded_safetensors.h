#pragma once
/// The weights of a Hugging Face folder: model.safetensors, or model.safetensors.index.json and the shards that it names.
///
/// The index (https://huggingface.co/docs/transformers/main/en/big_models) is checked against the shards and never believed: a shard is a
/// plain file name inside the folder (core/base/folder.h), every tensor listed is in its shard and every tensor of a shard is listed
/// there, so none is in two. Sizes in the index are not used. InputError "FILE: tensor 'NAME': expected …, found …".
///
/// Matrices in F8_E4M3 are scaled by blocks of 128 x 128, the last ones cut off at the edges, as DeepSeek-V3 is published: NAME_scale_inv,
/// fp32 [ceil(rows / 128), ceil(columns / 128)], perhaps in another shard, holds what the stored values are multiplied with. They are read
/// as fp32: the value times its scale, rounded once.
///
/// Nothing is collective. Reading blocks and may be done from several threads.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/base/folder.h"
#include "core/model/safetensors.h"

namespace cohort::model {

class ShardedSafetensors {
 public:
  /// Opens all shards and reads their headers.
  explicit ShardedSafetensors(const std::string& folder);

  struct Entry {
    const SafetensorsFile* file = nullptr;
    const TensorInfo* info = nullptr;
    const SafetensorsFile* scale_file = nullptr;  ///< of F8_E4M3 alone
    const TensorInfo* scale_info = nullptr;
  };
  /// By name. Scales of F8_E4M3 matrices belong to their matrix and are not listed.
  const std::map<std::string, Entry>& tensors() const { return tensors_; }
  const Entry* find(const std::string& name) const;
  const std::string& folder() const { return folder_.path(); }
  /// "FILE: tensor 'NAME'", for messages.
  std::string place(const std::string& name) const;

  /// Values [begin, end) in row-major order as fp32 to `out`, converted in pieces that stay in the processor's cache; nothing else is read,
  /// but for the scales of the rows touched. Floating-point tensors only. Fault when there are no such values.
  void read_floats(const std::string& name, int64_t begin, int64_t end, float* out) const;
  /// A whole tensor: as it is in the file, F8_E4M3 as fp32.
  at::Tensor load(const std::string& name) const;

  /// Bytes of tensors read so far, scales included: of all, and of one.
  uint64_t bytes_read() const;
  uint64_t bytes_read(const std::string& name) const;
  /// Bytes of all tensors in the files.
  uint64_t bytes() const { return bytes_; }
  size_t files() const { return files_.size(); }

 private:
  void open_index();
  void add_file(const std::string& name, const std::map<std::string, std::string>* weight_map);
  void pair_scales();
  void read_scaled(const Entry& entry, int64_t begin, int64_t end, float* out) const;

  Folder folder_;
  std::map<std::string, std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, Entry> tensors_;
  uint64_t bytes_ = 0;
  mutable std::mutex mutex_;
  mutable std::map<std::string, uint64_t> read_;  // guarded by mutex_
};
/// Names of the files with tensors, and of the index where there is one.
std::vector<std::string> weight_file_names(const std::string& folder);

/// Writes model.safetensors or, where the tensors take more than `max_shard_bytes`, model-00001-of-0000N.safetensors, … and the index,
/// into an existing folder; each file durable. Tensors go into shards in the order given, a new one begins where the next tensor would
/// pass the limit; a tensor above it has a shard to itself. transformers cuts alike. The bytes depend on the arguments alone. Returns the
/// number of files with tensors.
size_t write_sharded_safetensors(const std::string& folder, const std::vector<LazyTensor>& tensors, uint64_t max_shard_bytes);

}  // namespace cohort::model
