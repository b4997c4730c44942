#include "core/train/checkpoint.h"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/text_util.h"

namespace cohort::train {
namespace {

namespace fs = std::filesystem;
constexpr const char* kManifest = "manifest.json";
constexpr const char* kManifestHash = "manifest.xxh3";
constexpr const char* kOneFile = "state.safetensors";  // of format 1
constexpr const char* kLatest = "LATEST";
constexpr uint32_t kFormat = 2;
// A piece is at most some 125 bytes of it and a tensor's entry some 110: that is 140,000 tensors of one piece each, or 4 TiB of state in
// whole pieces. What it takes in memory is many times that, before anything in it is checked.
constexpr uint64_t kMaxManifestBytes = uint64_t{32} << 20;
constexpr int kMaxShards = 1 << 16;
constexpr int kMaxDimensions = 16;
constexpr int64_t kMaxElements = int64_t{1} << 60;

fs::path temporary_folder(const std::string& folder, uint64_t step) { return fs::path(folder) / fmt::format("step_{}.tmp", step); }

std::string shard_name(int index, int count) { return fmt::format("shard_{}_of_{}.bin", index, count); }

/// Bytes of an element; 0 for a type that checkpoints do not have.
int64_t element_bytes(const std::string& dtype) { return dtype == "F32" ? 4 : dtype == "U8" ? 1 : 0; }

/// N of "step_N" + suffix; -1 for another name.
int64_t step_of(const std::string& name, const std::string& suffix = "") {
  if (!name.starts_with("step_") || !name.ends_with(suffix)) return -1;
  const char *first = name.data() + 5, *last = name.data() + name.size() - suffix.size();
  int64_t step = -1;
  const auto [end, bad] = std::from_chars(first, std::max(first, last), step);
  return bad == std::errc() && end == last && step >= 0 && name == fmt::format("step_{}{}", step, suffix) ? step : -1;
}

std::string read_small(const std::string& path, uint64_t max_bytes) {
  const FileReader file(path);
  if (file.size() > max_bytes) throw InputError(fmt::format("{}: expected at most {} bytes, found {}", path, max_bytes, file.size()));
  std::string bytes(file.size(), '\0');
  file.read(0, bytes.size(), bytes.data());
  return bytes;
}

void write_new(const std::string& path, std::string_view bytes) {
  FileWriter file(path, FileWriter::Existing::kRefuse, false);
  file.write(bytes);
  file.close();
}

/// Newer steps than the one just saved were passed over when this run was restored: they must not push out those that are valid.
void remove_old(const std::string& folder, int64_t saved, int64_t keep_last) {
  int64_t kept = 0, oldest = saved;
  for (const int64_t step : steps_in(folder)) {
    if (step > saved || ++kept > std::max<int64_t>(2, keep_last))
      fs::remove_all(step_folder(folder, step));
    else
      oldest = step;
  }
  for (const auto& entry : fs::directory_iterator(folder))
    if (const int64_t step = step_of(entry.path().filename(), ".damaged"); step >= 0 && step < oldest) fs::remove_all(entry.path());
}

/// Number of elements; InputError where the shape is none.
int64_t count_elements(const records::TensorEntry& tensor, const std::string& path) {
  int64_t elements = 1;
  bool good = tensor.shape_size() <= kMaxDimensions && element_bytes(tensor.dtype()) > 0;
  for (const int64_t extent : tensor.shape())
    good = good && extent >= 0 && !__builtin_mul_overflow(elements, extent, &elements) && elements <= kMaxElements;
  if (!good)
    throw InputError(fmt::format("{}: tensor '{}': expected F32 or U8 of a possible shape, found {} [{}]", path, printable(tensor.name()),
                                 printable(tensor.dtype()), fmt::join(tensor.shape(), ", ")));
  return elements;
}

}  // namespace

records::TensorEntry tensor_entry(const std::string& name, const std::string& dtype, const std::vector<int64_t>& shape) {
  records::TensorEntry entry;
  entry.set_name(name), entry.set_dtype(dtype);
  entry.mutable_shape()->Assign(shape.begin(), shape.end());
  return entry;
}

// ---- Writing
// ------------------------------------------------------------------------------------------------------------------------------

void begin_step(const std::string& folder, uint64_t step) {
  make_directories(folder);
  const fs::path temporary = temporary_folder(folder, step);
  std::error_code error;
  fs::remove_all(temporary, error);
  if (!error && !fs::create_directory(temporary, error) && !error) error = std::make_error_code(std::errc::file_exists);
  if (error) throw Fault(fmt::format("{}: making an empty folder failed: {}", temporary.string(), error.message()));
}

records::CheckpointShard write_shard(const std::string& folder, uint64_t step, int index, int count,
                                     const std::vector<records::TensorEntry>& tensors, const std::vector<SavedRun>& runs,
                                     const std::atomic<bool>& cancelled) {
  records::CheckpointShard shard;
  shard.set_name(shard_name(index, count));
  FileWriter file(temporary_folder(folder, step) / shard.name(), FileWriter::Existing::kRefuse, false);  // its pieces have hashes
  for (const SavedRun& run : runs) {
    const int64_t width = element_bytes(tensors.at(run.tensor).dtype());
    for (int64_t done = 0; done < run.count;) {
      if (cancelled) throw Fault(shard.name() + ": the save was given up");
      const int64_t elements = std::min(run.count - done, kPieceElements);
      const std::string_view bytes(static_cast<const char*>(run.data) + done * width, static_cast<size_t>(elements * width));
      records::CheckpointPiece& piece = *shard.add_pieces();
      piece.set_tensor(run.tensor), piece.set_begin(static_cast<uint64_t>(run.begin + done));
      piece.set_count(static_cast<uint64_t>(elements)), piece.set_offset(file.bytes()), piece.set_xxh3(xxh3_128_hex(bytes));
      file.write(bytes);
      done += elements;
    }
  }
  shard.set_bytes(file.bytes());
  file.close();
  return shard;
}

namespace {

/// From a folder of shards to a step that others may find.
void commit(const std::string& temporary, const std::string& final_path, const records::CheckpointManifest& manifest) {
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(manifest, &json).ok()) throw Fault("checkpoint manifest cannot be written as JSON");
  json += "\n";
  if (json.size() > kMaxManifestBytes)
    throw Fault(fmt::format("{}/{}: expected at most {} bytes, found {}: the state has too many tensors or pieces", temporary, kManifest,
                            kMaxManifestBytes, json.size()));
  write_new(temporary + "/" + kManifest, json);
  write_new(temporary + "/" + kManifestHash, xxh3_128_hex(json) + "\n");
  const SavedStep check(temporary);  // that every writer saw this folder, and that nothing is missing
  fsync_directory(temporary);
  fs::remove_all(final_path);  // of an attempt at the same step that did not verify
  rename_durable(temporary, final_path);
}

}  // namespace

void commit_step(const std::string& folder, records::CheckpointManifest manifest, int64_t keep_last) {
  manifest.set_format(kFormat);
  const auto step = static_cast<int64_t>(manifest.step());
  const std::string final_path = step_folder(folder, step);
  bool committed = false;
  try {
    commit(temporary_folder(folder, manifest.step()), final_path, manifest);
    committed = true;
    write_file_atomic(folder + "/" + kLatest, fmt::format("step_{}\n", step));
    remove_old(folder, step, keep_last);
  } catch (const std::exception& error) {  // whatever the file system says
    if (committed) return log_warn("{} is saved; after that: {}", final_path, error.what());
    abandon_step(folder, manifest.step());
    std::error_code none;
    fs::remove_all(final_path, none);  // renamed, but nobody knows whether the disk has it
    throw Fault(error.what());
  }
}

void abandon_step(const std::string& folder, uint64_t step) noexcept {
  std::error_code error;
  fs::remove_all(temporary_folder(folder, step), error);
  if (error) log_warn("{}: not removed: {}", temporary_folder(folder, step).string(), error.message());
}

// ---- Reading
// ------------------------------------------------------------------------------------------------------------------------------

std::vector<int64_t> steps_in(const std::string& folder) {
  std::vector<int64_t> steps;
  std::error_code error;
  const fs::directory_iterator entries(folder, error);
  // A folder that cannot be read is not one without steps.
  if (error && error != std::errc::no_such_file_or_directory && error != std::errc::not_a_directory)
    throw Fault(fmt::format("{}: looking for steps failed: {}", folder, error.message()));
  for (const auto& entry : entries)
    if (const int64_t step = step_of(entry.path().filename()); step >= 0 && fs::is_directory(entry.symlink_status())) steps.push_back(step);
  std::sort(steps.rbegin(), steps.rend());
  return steps;
}

std::string step_folder(const std::string& folder, int64_t step) { return fmt::format("{}/step_{}", folder, step); }

void set_aside(const std::string& folder, int64_t step) {
  const std::string from = step_folder(folder, step), to = from + ".damaged";
  fs::remove_all(to);
  rename_durable(from, to);
}

std::string latest_problem(const std::string& folder) {
  const std::string path = folder + "/" + kLatest;
  const auto steps = steps_in(folder);
  if (!fs::exists(fs::symlink_status(path))) return steps.empty() ? "" : path + ": expected the newest step's name, found no file";
  std::string text;
  try {
    text = read_small(path, 64);
  } catch (const std::exception& error) {
    return error.what();
  }
  const int64_t step = text.ends_with('\n') ? step_of(text.substr(0, text.size() - 1)) : -1;
  if (step < 0) return fmt::format("{}: expected step_N, found \"{}\"", path, printable(text));
  return std::find(steps.begin(), steps.end(), step) == steps.end() ? fmt::format("{}: names step_{}, which is not there", path, step) : "";
}

SavedStep::SavedStep(const std::string& path) : path_(path) {
  if (fs::exists(path + "/" + kOneFile))
    throw InputError(path +
                     ": expected shards (format 2), found one file for all (format 1) of an earlier version of cohort, not read any more");
  const std::string file = path + "/" + kManifest, json = read_small(file, kMaxManifestBytes);
  hash_ = xxh3_128_hex(json);
  if (const std::string wanted = read_small(path + "/" + kManifestHash, 64); wanted != hash_ + "\n")
    throw InputError(fmt::format("{}: expected hash {}, found {}", file, printable(wanted), hash_));
  if (!google::protobuf::util::JsonStringToMessage(json, &manifest_).ok())
    throw InputError(file + ": expected a checkpoint manifest, found something else");
  if (manifest_.format() != kFormat) throw InputError(fmt::format("{}: format: expected {}, found {}", file, kFormat, manifest_.format()));
  check_pieces();
  check_files();
}

void SavedStep::check_files() const {
  std::set<std::string> wanted = {kManifest, kManifestHash};
  for (const auto& shard : manifest_.shards()) {
    wanted.insert(shard.name());
    const FileReader file(path_ + "/" + shard.name());
    if (file.size() != shard.bytes())
      throw InputError(fmt::format("{}/{}: expected {} bytes, found {}", path_, shard.name(), shard.bytes(), file.size()));
  }
  for (const auto& entry : fs::directory_iterator(path_))
    if (const std::string name = entry.path().filename(); !wanted.count(name))
      throw InputError(fmt::format("{}: expected only the files of its manifest, found \"{}\"", path_, printable(name)));
}

void SavedStep::check_pieces() {
  const std::string file = path_ + "/" + kManifest;
  std::set<std::string> names;
  for (const auto& tensor : manifest_.tensors()) {
    elements_.push_back(count_elements(tensor, file));
    if (!names.insert(tensor.name()).second) throw InputError(fmt::format("{}: tensor '{}' twice", file, printable(tensor.name())));
  }
  places_.resize(elements_.size());
  const int shards = manifest_.shards_size();
  if (shards < 1 || shards > kMaxShards) throw InputError(fmt::format("{}: shards: expected 1 to {}, found {}", file, kMaxShards, shards));
  for (int s = 0; s < shards; ++s) {
    const records::CheckpointShard& shard = manifest_.shards(s);
    if (shard.name() != shard_name(s, shards))
      throw InputError(fmt::format("{}: expected {}, found \"{}\"", file, shard_name(s, shards), printable(shard.name())));
    uint64_t end = 0;
    for (int p = 0; p < shard.pieces_size(); ++p) {
      const records::CheckpointPiece& piece = shard.pieces(p);
      const bool fits = piece.tensor() < elements_.size() && piece.count() > 0 && piece.count() <= uint64_t{kPieceElements} &&
                        piece.offset() == end && piece.begin() <= static_cast<uint64_t>(elements_[piece.tensor()]) &&
                        piece.count() <= static_cast<uint64_t>(elements_[piece.tensor()]) - piece.begin();
      if (!fits)
        throw InputError(
            fmt::format("{}: {}: piece {}: expected to follow the one before and to lie inside its tensor, found tensor {}, "
                        "begin {}, count {}, offset {}",
                        file, shard.name(), p, piece.tensor(), piece.begin(), piece.count(), piece.offset()));
      end += piece.count() * static_cast<uint64_t>(element_bytes(manifest_.tensors(static_cast<int>(piece.tensor())).dtype()));
      places_[piece.tensor()].push_back({static_cast<int64_t>(piece.begin()), static_cast<int64_t>(piece.count()), s, p});
    }
    if (end != shard.bytes())
      throw InputError(fmt::format("{}: {}: expected pieces of {} bytes, found {}", file, shard.name(), shard.bytes(), end));
  }
  for (size_t t = 0; t < places_.size(); ++t) {
    std::sort(places_[t].begin(), places_[t].end(), [](const Place& a, const Place& b) { return a.begin < b.begin; });
    int64_t next = 0;
    bool once = true;
    for (const Place& place : places_[t])
      if (once = once && place.begin == next; once) next += place.count;
    if (!once || next != elements_[t])
      throw InputError(fmt::format("{}: tensor '{}': expected each of {} elements once, found element {} missing or twice", file,
                                   printable(manifest_.tensors(static_cast<int>(t)).name()), elements_[t], next));
  }
}

std::optional<uint32_t> SavedStep::find(const std::string& name) const {
  for (int i = 0; i < manifest_.tensors_size(); ++i)
    if (manifest_.tensors(i).name() == name) return static_cast<uint32_t>(i);
  return std::nullopt;
}

int64_t SavedStep::elements(uint32_t tensor) const { return elements_.at(tensor); }

void SavedStep::read_piece(uint32_t tensor, const Place& place, std::string& bytes) const {
  const records::CheckpointShard& shard = manifest_.shards(place.shard);
  const records::CheckpointPiece& piece = shard.pieces(place.piece);
  const std::string path = path_ + "/" + shard.name();
  bytes.resize(static_cast<size_t>(place.count * element_bytes(manifest_.tensors(static_cast<int>(tensor)).dtype())));
  FileReader(path).read(piece.offset(), bytes.size(), bytes.data());
  if (const std::string hash = xxh3_128_hex(bytes); hash != piece.xxh3())
    throw InputError(fmt::format("{}: tensor '{}', elements from {}: expected hash {}, found {}", path,
                                 printable(manifest_.tensors(static_cast<int>(tensor)).name()), place.begin, printable(piece.xxh3()),
                                 hash));
}

void SavedStep::read(uint32_t tensor, int64_t begin, int64_t count, void* out) const {
  if (begin < 0 || count < 0 || count > elements(tensor) - begin)
    throw Fault(fmt::format("{}: elements {} to {} of tensor {} were asked for", path_, begin, begin + count, tensor));
  const int64_t width = element_bytes(manifest_.tensors(static_cast<int>(tensor)).dtype());
  std::string bytes;
  for (const Place& place : places_[tensor]) {
    const int64_t from = std::max(begin, place.begin), to = std::min(begin + count, place.begin + place.count);
    if (from >= to) continue;
    read_piece(tensor, place, bytes);
    if (out != nullptr)
      std::copy_n(bytes.data() + (from - place.begin) * width, (to - from) * width, static_cast<char*>(out) + (from - begin) * width);
  }
}

std::vector<std::string> SavedStep::tensor_hashes() const {
  std::vector<std::string> hashes;
  std::string bytes;
  for (uint32_t t = 0; t < places_.size(); ++t) {
    Hasher hasher;
    for (const Place& place : places_[t]) {
      read_piece(t, place, bytes);
      hasher.update(bytes);
    }
    hashes.push_back(hasher.hex());
  }
  return hashes;
}

bool belongs(const records::CheckpointManifest& manifest, int64_t step, const std::string& stage, const std::string& config_hash) {
  return manifest.stage() == stage && manifest.config_hash() == config_hash && manifest.step() == static_cast<uint64_t>(step);
}

int64_t newest_step(const std::string& folder, const std::string& stage, const std::string& config_hash) {
  for (const int64_t step : steps_in(folder)) {
    try {
      if (belongs(SavedStep(step_folder(folder, step)).manifest(), step, stage, config_hash)) return step;
    } catch (const std::exception&) {  // training will say so
    }
  }
  return -1;
}

}  // namespace cohort::train
