#include "core/model/sharded_safetensors.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/text_util.h"

namespace cohort::model {
namespace {

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kScaleSuffix = "_scale_inv";
constexpr uint64_t kMaxIndexBytes = uint64_t{64} << 20;  // DeepSeek-V3's has 9 MB
constexpr int kMaxIndexDepth = 8;                        // "metadata" is free-form
constexpr size_t kMaxShards = 4096;
constexpr int64_t kBlock = 128;              // rows and columns that share a scale
constexpr int64_t kPieceElements = 1 << 16;  // converted at a time: source and result stay in a core's cache
constexpr const char* kWriteFormat = "pt";

std::string tensor_place(const std::string& path, const std::string& name) { return path + ": tensor '" + printable(name, 200) + "'"; }

[[noreturn]] void refuse(const std::string& where, const std::string& expected, const std::string& found) {
  throw InputError(where + ": expected " + expected + ", found " + found);
}

/// Tensor → shard.
std::map<std::string, std::string> read_weight_map(const Folder& folder) {
  const std::string where = folder.place(kIndex);
  const nlohmann::json index = parse_json(folder.read(kIndex, kMaxIndexBytes), where, kMaxIndexDepth);
  if (!index.is_object()) refuse(where, "an object", index.type_name());
  for (const auto& [key, unused] : index.items())
    if (key != "metadata" && key != "weight_map") refuse(where, "metadata and weight_map", "'" + printable(key) + "'");
  if (!index.contains("weight_map") || !index["weight_map"].is_object())
    refuse(where + ": weight_map", "an object", index.contains("weight_map") ? index["weight_map"].type_name() : "none");
  std::map<std::string, std::string> weight_map;
  for (const auto& [name, shard] : index["weight_map"].items()) {
    if (!shard.is_string()) refuse(tensor_place(where, name), "the name of a shard", shard.type_name());
    const auto file = shard.get<std::string>();
    if (!is_plain_file_name(file) || !file.ends_with(".safetensors"))
      refuse(tensor_place(where, name), "the plain name of a .safetensors file in this folder", "\"" + printable(file) + "\"");
    weight_map.emplace(name, file);
  }
  return weight_map;
}

/// fp32 numbers [count] from `bytes` of another floating-point type.
void convert(const void* bytes, at::ScalarType type, int64_t count, float* out) {
  if (type == at::kBFloat16) {  // what is most often converted, and nothing but a shift
    const auto* in = static_cast<const uint16_t*>(bytes);
    auto* bits = reinterpret_cast<uint32_t*>(out);
    for (int64_t i = 0; i < count; ++i) bits[i] = static_cast<uint32_t>(in[i]) << 16;
    return;
  }
  const at::Tensor from = at::from_blob(const_cast<void*>(bytes), {count}, at::TensorOptions().dtype(type));
  at::from_blob(out, {count}, at::kFloat).copy_(from);
}

bool is_single_byte_float(at::ScalarType type) { return type == at::kFloat8_e4m3fn || type == at::kFloat8_e5m2; }

int64_t blocks(int64_t length) { return length / kBlock + (length % kBlock == 0 ? 0 : 1); }

}  // namespace

ShardedSafetensors::ShardedSafetensors(const std::string& folder) : folder_(folder) {
  const bool single = folder_.has(kSingle), index = folder_.has(kIndex);
  if (single && index) refuse(folder, fmt::format("{} or {}", kSingle, kIndex), "both: which one holds the weights is not clear");
  if (!single && !index) refuse(folder, fmt::format("{} or {}", kSingle, kIndex), "neither");
  single ? add_file(kSingle, nullptr) : open_index();
  pair_scales();
}

void ShardedSafetensors::open_index() {
  const auto weight_map = read_weight_map(folder_);
  std::map<std::string, size_t> listed;
  for (const auto& [name, shard] : weight_map) ++listed[shard];
  if (listed.size() > kMaxShards)
    refuse(folder_.place(kIndex), fmt::format("at most {} shards", kMaxShards), std::to_string(listed.size()));
  for (const auto& [shard, unused] : listed) add_file(shard, &weight_map);
  for (const auto& [name, shard] : weight_map)
    if (!find(name)) refuse(tensor_place(folder_.place(kIndex), name), "it in " + printable(shard, 255), "no such tensor there");
}

void ShardedSafetensors::add_file(const std::string& name, const std::map<std::string, std::string>* weight_map) {
  const auto& file = files_.emplace(name, std::make_unique<SafetensorsFile>(folder_, name)).first->second;
  for (const auto& [tensor, info] : file->tensors()) {
    if (weight_map) {
      const auto listed = weight_map->find(tensor);
      if (listed == weight_map->end()) refuse(tensor_place(file->path(), tensor), fmt::format("it in weight_map of {}", kIndex), "none");
      if (listed->second != name)
        refuse(tensor_place(file->path(), tensor), "it in " + printable(listed->second, 255) + " alone, where the index has it",
               "another one here");
    }
    tensors_.emplace(tensor, Entry{file.get(), &info});
    bytes_ += info.end - info.begin;
  }
}

void ShardedSafetensors::pair_scales() {
  std::vector<std::string> scales;
  for (auto& [name, entry] : tensors_) {
    if (!is_single_byte_float(entry.info->dtype)) continue;
    if (entry.info->dtype != at::kFloat8_e4m3fn)
      refuse(place(name), "8-bit floats of the type F8_E4M3, in which models are published", safetensors_dtype_name(entry.info->dtype));
    const std::string scale_name = name + kScaleSuffix;
    const Entry* scale = find(scale_name);
    if (scale == nullptr) refuse(place(name), "its scales " + printable(scale_name, 200), "none");
    const auto& shape = entry.info->shape;
    if (shape.size() != 2) refuse(place(name), "F8_E4M3 with two dimensions", std::to_string(shape.size()));
    const at::ScalarType type = scale->info->dtype;
    if (type != at::kFloat && type != at::kBFloat16 && type != at::kHalf)
      refuse(place(scale_name), "scales in F32, BF16 or F16", safetensors_dtype_name(type));
    const std::vector<int64_t> expected = {blocks(shape[0]), blocks(shape[1])};
    if (scale->info->shape != expected)
      refuse(place(scale_name), fmt::format("shape [{}] for blocks of {} x {}", fmt::join(expected, ", "), kBlock, kBlock),
             fmt::format("[{}]", fmt::join(scale->info->shape, ", ")));
    entry.scale_file = scale->file, entry.scale_info = scale->info;
    scales.push_back(scale_name);
  }
  for (const std::string& name : scales) tensors_.erase(name);
}

const ShardedSafetensors::Entry* ShardedSafetensors::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

std::string ShardedSafetensors::place(const std::string& name) const {
  const Entry* entry = find(name);
  return tensor_place(entry ? entry->file->path() : folder_.place(files_.size() == 1 ? files_.begin()->first : kIndex), name);
}

void ShardedSafetensors::read_scaled(const Entry& entry, int64_t begin, int64_t end, float* out) const {
  const int64_t columns = entry.info->shape[1], per_row = blocks(columns);
  const int64_t first = begin / columns / kBlock, last = (end - 1) / columns / kBlock;
  std::vector<float> scales(static_cast<size_t>((last - first + 1) * per_row));
  std::vector<char> raw(scales.size() * c10::elementSize(entry.scale_info->dtype));
  entry.scale_file->read_elements(*entry.scale_info, first * per_row, (last + 1) * per_row, raw.data());
  convert(raw.data(), entry.scale_info->dtype, static_cast<int64_t>(scales.size()), scales.data());
  for (int64_t i = begin; i < end;) {  // one run of a row within one block at a time
    const int64_t row = i / columns, column = i % columns;
    const int64_t run = std::min({columns - column, kBlock - column % kBlock, end - i});
    const float scale = scales[static_cast<size_t>((row / kBlock - first) * per_row + column / kBlock)];
    float* values = out + (i - begin);
    for (int64_t j = 0; j < run; ++j) values[j] *= scale;
    i += run;
  }
}

void ShardedSafetensors::read_floats(const std::string& name, int64_t begin, int64_t end, float* out) const {
  const Entry* entry = find(name);
  if (!entry || !at::isFloatingType(entry->info->dtype)) throw Fault(place(name) + ": no floating-point tensor of this name");
  if (begin >= end) return;
  const at::ScalarType type = entry->info->dtype;
  const auto width = static_cast<int64_t>(c10::elementSize(type));
  static thread_local std::vector<char> buffer;
  for (int64_t i = begin; i < end;) {
    const int64_t count = std::min(kPieceElements, end - i);
    float* piece = out + (i - begin);
    if (type == at::kFloat) {
      entry->file->read_elements(*entry->info, i, i + count, piece);
    } else {
      buffer.resize(static_cast<size_t>(kPieceElements * width));
      entry->file->read_elements(*entry->info, i, i + count, buffer.data());
      convert(buffer.data(), type, count, piece);
    }
    if (entry->scale_info) read_scaled(*entry, i, i + count, piece);
    i += count;
  }
  const std::lock_guard lock(mutex_);
  read_[name] += static_cast<uint64_t>((end - begin) * width);
}

at::Tensor ShardedSafetensors::load(const std::string& name) const {
  const Entry* entry = find(name);
  if (!entry) throw Fault(place(name) + ": no tensor of this name");
  if (!entry->scale_info) {
    at::Tensor tensor = entry->file->load(name);
    const std::lock_guard lock(mutex_);
    read_[name] += tensor.nbytes();
    return tensor;
  }
  at::Tensor tensor = at::empty(entry->info->shape, at::kFloat);
  read_floats(name, 0, tensor.numel(), tensor.data_ptr<float>());
  return tensor;
}

uint64_t ShardedSafetensors::bytes_read() const {
  uint64_t total = 0;
  for (const auto& [unused, file] : files_) total += file->bytes_read();
  return total;
}

uint64_t ShardedSafetensors::bytes_read(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = read_.find(name);
  return found == read_.end() ? 0 : found->second;
}

std::vector<std::string> weight_file_names(const std::string& folder) {
  const Folder opened(folder);
  if (!opened.has(kIndex)) return {kSingle};
  std::set<std::string> names = {kIndex};
  for (const auto& [unused, shard] : read_weight_map(opened)) names.insert(shard);
  return {names.begin(), names.end()};
}

// ---- Writing -----------------------------------------------------------------------------------------------------------------------

namespace {

/// As huggingface_hub does, so that both write the same files.
std::vector<std::vector<LazyTensor>> split(const std::vector<LazyTensor>& tensors, uint64_t max_shard_bytes) {
  std::vector<std::vector<LazyTensor>> shards;
  std::vector<LazyTensor> current;
  uint64_t held = 0;
  for (const LazyTensor& tensor : tensors) {
    const uint64_t bytes = tensor.bytes();
    if (bytes > max_shard_bytes) {
      shards.push_back({tensor});
      continue;
    }
    if (held > max_shard_bytes - bytes) shards.push_back(std::move(current)), current.clear(), held = 0;
    current.push_back(tensor);
    held += bytes;
  }
  if (!current.empty() || shards.empty()) shards.push_back(std::move(current));
  return shards;
}

}  // namespace

size_t write_sharded_safetensors(const std::string& folder, const std::vector<LazyTensor>& tensors, uint64_t max_shard_bytes) {
  const auto shards = split(tensors, max_shard_bytes);
  uint64_t total = 0, parameters = 0;
  nlohmann::json weight_map = nlohmann::json::object();
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = shards.size() == 1 ? kSingle : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    for (const LazyTensor& tensor : shards[i]) {
      total += tensor.bytes(), parameters += tensor.bytes() / c10::elementSize(tensor.dtype);
      weight_map[tensor.name] = name;
    }
    write_lazy_safetensors(folder + "/" + name, shards[i], {{"format", kWriteFormat}});
  }
  if (shards.size() == 1) return 1;
  const nlohmann::json index = {{"metadata", {{"total_parameters", parameters}, {"total_size", total}}}, {"weight_map", weight_map}};
  write_file_atomic(folder + "/" + kIndex, index.dump(2) + "\n");
  return shards.size();
}

}  // namespace cohort::model
