#include "core/model/published_folder.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <stdlib.h>  // mkdtemp

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/folder.h"
#include "core/base/json.h"
#include "core/base/text_util.h"
#include "core/model/weights_io.h"

namespace cohort::model {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxSmallFile = uint64_t{1} << 20;
constexpr int64_t kPieceElements = 1 << 20;
constexpr const char* kOwnTokenizer = "cohort_tokenizer.json";  // text::kTokenizerFile

struct Companion {
  const char* name;
  uint64_t max_bytes;
};
constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr std::array<Companion, 8> kCompanions = {{{"tokenizer.json", 256 * kMiB},
                                                   {"tokenizer_config.json", 16 * kMiB},
                                                   {"special_tokens_map.json", kMiB},
                                                   {"added_tokens.json", 16 * kMiB},
                                                   {"vocab.json", 64 * kMiB},
                                                   {"merges.txt", 64 * kMiB},
                                                   {"chat_template.jinja", 16 * kMiB},
                                                   {"generation_config.json", kMiB}}};

at::ScalarType parse_dtype(const std::string& name, const std::string& where) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf})
    if (name == dtype_name(type)) return type;
  throw InputError(fmt::format("{}: expected float32, bfloat16 or float16, found \"{}\"", where, printable(name)));
}

/// A string of a JSON file in the folder; none where the file, or the key, is not there.
std::optional<std::string> string_in(const Folder& folder, const char* file, const char* key) {
  if (!folder.has(file)) return std::nullopt;
  const std::string where = folder.place(file);
  const nlohmann::json object = parse_json(folder.read(file, kMaxSmallFile), where);
  if (!object.is_object() || !object.contains(key) || object[key].is_null()) return std::nullopt;
  if (!object[key].is_string()) throw InputError(fmt::format("{}: {}: expected a string, found {}", where, key, object[key].type_name()));
  return object[key].get<std::string>();
}

at::ScalarType config_dtype(const Folder& folder) {
  for (const char* key : {"torch_dtype", "dtype"})
    if (const auto name = string_in(folder, "config.json", key)) return parse_dtype(*name, folder.place("config.json: ") + key);
  return at::kFloat;
}

/// In a folder that came from elsewhere nothing but one of these may be in the way.
void require_new(const fs::path& target) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(target, error);
  if (status.type() == fs::file_type::not_found) {
    const fs::path parent = target.parent_path().empty() ? "." : target.parent_path();
    if (!fs::is_directory(parent, error))
      throw InputError(fmt::format("{}: expected a folder to write into, found no {}", target.string(), parent.string()));
    return;
  }
  if (status.type() == fs::file_type::directory && fs::is_empty(target, error) && !error) return;
  const char* found = status.type() == fs::file_type::directory ? "one with files in it" : "something else of that name";
  throw InputError(fmt::format("{}: expected a new folder or an empty one, found {}", target.string(), found));
}

/// Beside the target, and gone again unless it is renamed. A killed process leaves it: its name is .TARGET.partial-XXXXXX.
class PartialFolder {
 public:
  explicit PartialFolder(const fs::path& target) : target_(target) {
    std::string pattern = (target.parent_path() / ("." + target.filename().string() + ".partial-XXXXXX")).string();
    if (::mkdtemp(pattern.data()) == nullptr)
      throw InputError(fmt::format("{}: expected a folder that can be made, found: {}", target.string(), std::strerror(errno)));
    path_ = pattern;
    fs::permissions(path_, fs::perms(0755));
  }
  ~PartialFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  PartialFolder(const PartialFolder&) = delete;
  PartialFolder& operator=(const PartialFolder&) = delete;

  const std::string& path() const { return path_; }
  void commit() {
    fsync_directory(path_);
    rename_durable(path_, target_.string());
    path_.clear();
  }

 private:
  fs::path target_;
  std::string path_;
};

/// How the tensors of a folder are stored in the exported one.
class Tensors {
 public:
  Tensors(const ShardedSafetensors& files, std::optional<at::ScalarType> wanted, at::ScalarType published, bool as_stored)
      : files_(files), dtype_(wanted.value_or(published)), as_stored_(!wanted && as_stored) {}

  at::ScalarType dtype() const { return dtype_; }

  LazyTensor lazy(const std::string& name) const {
    const auto* entry = files_.find(name);
    const bool scaled = entry->scale_info != nullptr;
    const at::ScalarType dtype = as_stored_ && !scaled ? entry->info->dtype : stored_dtype(name, dtype_);
    return {name, dtype, entry->info->shape, [this, name, dtype] { return values(name, dtype); }};
  }

  void check_tied_head() const {
    if (!at::equal(files_.load("lm_head.weight"), files_.load("model.embed_tokens.weight")))
      throw InputError(
          files_.place("lm_head.weight") +
          ": expected the values of model.embed_tokens.weight, because config.json has tie_word_embeddings true, found others");
  }

 private:
  at::Tensor values(const std::string& name, at::ScalarType dtype) const {
    const at::Tensor values = files_.load(name).to(dtype).contiguous();
    for (const at::Tensor& piece : values.view({-1}).split(kPieceElements))  // what isfinite makes is as large as what it is given
      if (!at::isfinite(piece).all().item<bool>())
        throw InputError(fmt::format("{}: expected finite values in {}, found NaN or infinity", files_.place(name), dtype_name(dtype)));
    return values;
  }

  const ShardedSafetensors& files_;
  at::ScalarType dtype_;
  bool as_stored_;
};

std::string config_text(const Architecture& a, at::ScalarType dtype) {
  nlohmann::json config = architecture_to_json(a);
  set_dtype(config, dtype_name(dtype));
  return config.dump(2) + "\n";
}

/// What only cohort reads. The type is now that of config.json.
void copy_own_files(const Folder& source, const std::string& to) {
  if (source.has(kOwnTokenizer)) write_file_atomic(to + "/" + kOwnTokenizer, source.read(kOwnTokenizer, kMaxSmallFile));
  if (!source.has(kTrainedFile)) return;
  nlohmann::json trained = parse_json(source.read(kTrainedFile, kMaxSmallFile), source.place(kTrainedFile));
  if (trained.is_object()) trained.erase("dtype");
  write_file_atomic(to + "/" + kTrainedFile, trained.dump() + "\n");
}

}  // namespace

const char* dtype_name(at::ScalarType dtype) {
  return dtype == at::kBFloat16 ? "bfloat16" : dtype == at::kHalf ? "float16" : dtype == at::kFloat ? "float32" : at::toString(dtype);
}

std::vector<std::string> copy_companions(const std::string& from, const std::string& to) {
  const Folder source(from), target(to);
  std::vector<std::string> copied;
  for (const Companion& companion : kCompanions) {
    if (!source.has(companion.name) || target.has(companion.name)) continue;
    write_file_atomic(target.place(companion.name), source.read(companion.name, companion.max_bytes));
    copied.emplace_back(companion.name);
  }
  return copied;
}

void check_companions(const std::string& folder) {
  const Folder source(folder);
  for (const Companion& companion : kCompanions)
    if (source.has(companion.name)) source.read(companion.name, companion.max_bytes);
}

at::ScalarType published_dtype(const std::string& folder) {
  const Folder files(folder);
  const auto trained = string_in(files, kTrainedFile, "dtype");
  return trained ? parse_dtype(*trained, files.place(kTrainedFile) + ": dtype") : config_dtype(files);
}

Exported export_folder(const std::string& source, const std::string& target, const ExportOptions& options) {
  const fs::path place = (fs::path(target) / "").parent_path();  // without a slash at the end
  require_new(place);
  check_model_folder(source);
  const Architecture a = load_architecture(source);
  const ShardedSafetensors files(source);
  const CausalLM model(a, CausalLM::ShapesOnly{}, a.sequence_classification ? Head::kScalar : Head::kLanguageModel);
  check_tensors(model, files);
  const Folder folder(source);
  const at::ScalarType published = published_dtype(source);
  const Tensors tensors(files, options.dtype, published, published == config_dtype(folder));
  if (a.tie_word_embeddings && !model.parameters().find("lm_head.weight") && files.find("lm_head.weight")) tensors.check_tied_head();

  Exported result;
  result.dtype = tensors.dtype();
  for (const auto& [name, unused] : files.tensors()) result.prediction_tensors += is_prediction_tensor(a, name) ? 1 : 0;
  std::vector<LazyTensor> lazy;
  for (const auto& [name, unused] : named_tensors(model)) lazy.push_back(tensors.lazy(name));
  for (const LazyTensor& tensor : lazy) result.bytes += tensor.bytes();
  result.tensors = lazy.size();

  PartialFolder partial(place);
  write_file_atomic(partial.path() + "/config.json", config_text(a, tensors.dtype()));
  result.files = write_sharded_safetensors(partial.path(), lazy, options.max_shard_bytes ? options.max_shard_bytes : kDefaultShardBytes);
  result.companions = copy_companions(source, partial.path());
  copy_own_files(folder, partial.path());
  partial.commit();
  return result;
}

}  // namespace cohort::model
