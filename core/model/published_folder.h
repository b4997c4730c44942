#pragma once
/// What lies beside the weights in a model's folder and goes with them: tokenizer, chat template, generation settings. And the way out: a
/// folder that `transformers` and vLLM read, made of one that was read or trained here.
///
/// Files are copied as they are, from inside the source folder only (core/base/folder.h) and up to a size. Everything here blocks.

#include <ATen/core/ScalarType.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace cohort::model {

/// What a run writes beside a model that it has trained: {"template", "stage", "dtype"}.
inline constexpr const char* kTrainedFile = "cohort_model.json";

/// Copies the published companions that `from` has and `to` has not: tokenizer.json, tokenizer_config.json, special_tokens_map.json,
/// added_tokens.json, vocab.json, merges.txt, chat_template.jinja, generation_config.json. Returns their names. Durable, not atomic.
std::vector<std::string> copy_companions(const std::string& from, const std::string& to);

/// The type in which a model was published: "dtype" of kTrainedFile where a run has written it, else torch_dtype or dtype of config.json;
/// fp32 where neither says. InputError for others than float32, bfloat16 and float16.
at::ScalarType published_dtype(const std::string& folder);

/// InputError when a file that copy_companions() would copy cannot be read.
void check_companions(const std::string& folder);
/// "float32", "bfloat16", "float16".
const char* dtype_name(at::ScalarType dtype);

struct ExportOptions {
  std::optional<at::ScalarType> dtype;  ///< none: as published
  uint64_t max_shard_bytes = 0;         ///< 0: kDefaultShardBytes
};

struct Exported {
  size_t tensors = 0;
  size_t files = 0;
  uint64_t bytes = 0;
  at::ScalarType dtype = at::kFloat;
  std::vector<std::string> companions;
  size_t prediction_tensors = 0;  ///< of layers for multi-token prediction: left out
};

/// Writes `target`: config.json, weights with their published names, companions. Tensors go from file to file one at a time, so memory is
/// that of the largest, in both types where they differ. As published, each keeps its type and its bytes; F8_E4M3 becomes the type of
/// config.json, and what a run has trained in fp32 becomes the type of the model that it began from. A tied head is not stored, nor are
/// layers for multi-token prediction.
///
/// All or nothing: everything is written into a folder beside `target`, made durable and renamed. InputError when `target` is anything but
/// missing or an empty folder, or when the source is not a whole model; nothing is left then.
Exported export_folder(const std::string& source, const std::string& target, const ExportOptions& options);

}  // namespace cohort::model
