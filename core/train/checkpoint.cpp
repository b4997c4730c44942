#include "core/train/checkpoint.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <vector>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/model/safetensors.h"

namespace cohort::train {
namespace {

namespace fs = std::filesystem;
constexpr const char* kData = "state.safetensors";
constexpr const char* kManifest = "manifest.json";
constexpr uint32_t kFormat = 1;
constexpr uint64_t kMaxManifestBytes = 1 << 20;

/// step_N folders, newest first. What else lies there (step_N.tmp of a killed save) is not a checkpoint.
std::vector<std::pair<int64_t, fs::path>> steps_in(const fs::path& folder) {
  std::vector<std::pair<int64_t, fs::path>> steps;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder, none)) {
    const std::string name = entry.path().filename();
    int64_t step = 0;
    const auto [end, bad] = std::from_chars(name.data() + std::min<size_t>(5, name.size()), name.data() + name.size(), step);
    if (name.starts_with("step_") && bad == std::errc() && end == name.data() + name.size() && entry.is_directory(none))
      steps.emplace_back(step, entry.path());
  }
  std::sort(steps.rbegin(), steps.rend());
  return steps;
}

records::CheckpointManifest read_manifest(const fs::path& folder) {
  records::CheckpointManifest manifest;
  const std::string path = folder / kManifest;
  if (!google::protobuf::util::JsonStringToMessage(read_file(path, kMaxManifestBytes), &manifest).ok())
    throw InputError(path + ": expected a checkpoint manifest, found something else");
  if (manifest.format() != kFormat) throw InputError(fmt::format("{}: format: expected {}, found {}", path, kFormat, manifest.format()));
  if (manifest.files_size() != 1 || manifest.files(0).name() != kData)
    throw InputError(path + ": files: expected one entry, " + std::string(kData));
  return manifest;
}

bool belongs(const records::CheckpointManifest& manifest, int64_t step, const std::string& stage, const std::string& config_hash) {
  return manifest.stage() == stage && manifest.config_hash() == config_hash && manifest.step() == static_cast<uint64_t>(step);
}

/// Reads and verifies one step; throws InputError with what is wrong.
Checkpoint read_step(const fs::path& folder) {
  Checkpoint c;
  c.manifest = read_manifest(folder);
  const std::string data_path = folder / kData;
  const records::FileEntry& entry = c.manifest.files(0);
  const std::string bytes = read_file(data_path, entry.bytes());
  if (bytes.size() != entry.bytes())
    throw InputError(fmt::format("{}: expected {} bytes, found {}", data_path, entry.bytes(), bytes.size()));
  if (const std::string hash = xxh3_128_hex(bytes); hash != entry.xxh3())
    throw InputError(fmt::format("{}: expected hash {}, found {}", data_path, entry.xxh3(), hash));
  c.tensors = model::read_safetensors(data_path);
  return c;
}

/// Newer steps than the one just saved were passed over when this run was restored: they must not push out those that are valid.
void remove_old(const fs::path& folder, int64_t saved, int64_t keep_last) {
  int64_t kept = 0;
  for (const auto& [step, path] : steps_in(folder))
    if (step > saved || ++kept > std::max<int64_t>(2, keep_last)) fs::remove_all(path);
}

}  // namespace

namespace {

/// Everything of a checkpoint, durable, in a folder that is not yet its own.
void write_step(const fs::path& temporary, Checkpoint& c) {
  make_directories(temporary);
  const std::vector<std::pair<std::string, at::Tensor>> tensors(c.tensors.begin(), c.tensors.end());
  const auto written = model::write_safetensors(temporary / kData, tensors);
  c.manifest.set_format(kFormat);
  c.manifest.clear_files();
  auto* file = c.manifest.add_files();
  file->set_name(kData), file->set_bytes(written.bytes), file->set_xxh3(written.hash);
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(c.manifest, &json).ok()) throw Fault("checkpoint manifest cannot be written as JSON");
  write_file_atomic(temporary / kManifest, json + "\n");
  fsync_directory(temporary);
}

}  // namespace

void save_checkpoint(const std::string& folder, Checkpoint c, int64_t keep_last) {
  make_directories(folder);
  const std::string name = fmt::format("step_{}", c.manifest.step());
  const fs::path final_path = fs::path(folder) / name, temporary = fs::path(folder) / (name + ".tmp");
  fs::remove_all(temporary);
  try {
    write_step(temporary, c);
  } catch (...) {
    std::error_code none;
    fs::remove_all(temporary, none);  // on a full disk, its part of it
    throw;
  }
  fs::remove_all(final_path);  // of an attempt at the same step that did not verify
  rename_durable(temporary, final_path);
  write_file_atomic(fs::path(folder) / "LATEST", name + "\n");
  remove_old(folder, static_cast<int64_t>(c.manifest.step()), keep_last);
}

int64_t newest_step(const std::string& folder, const std::string& stage, const std::string& config_hash) {
  for (const auto& [step, path] : steps_in(folder)) {
    try {
      const records::CheckpointManifest manifest = read_manifest(path);
      std::error_code none;
      if (belongs(manifest, step, stage, config_hash) && fs::file_size(path / kData, none) == manifest.files(0).bytes()) return step;
    } catch (const InputError&) {  // training will say so
    }
  }
  return -1;
}

std::optional<Checkpoint> load_checkpoint(const std::string& folder, const std::string& stage, const std::string& config_hash) {
  for (const auto& [step, path] : steps_in(folder)) {
    try {
      Checkpoint c = read_step(path);
      if (belongs(c.manifest, step, stage, config_hash)) return c;
      log_warn("{}: skipped, it belongs to another configuration of the stage", path.string());
    } catch (const InputError& error) {
      log_warn("{}: skipped, {}", path.string(), error.what());
    }
  }
  return std::nullopt;
}

}  // namespace cohort::train
