#include "core/model/weights_io.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/stopwatch.h"
#include "core/base/text_util.h"
#include "core/model/paged_tensor.h"

namespace cohort::model {
namespace {

constexpr uint64_t kMaxConfigBytes = 1 << 20;
constexpr size_t kMaxProblems = 20;
constexpr int64_t kPieceElements = 1 << 16;  // read, converted and looked at before the next: they stay in a core's cache
constexpr const char* kHead = "lm_head.weight";
constexpr const char* kEmbedding = "model.embed_tokens.weight";

/// "a.experts.gate_proj.weight" [E, …] → "a.experts.0.gate_proj.weight", …; other names as they are.
void add_published(const std::string& name, const at::Tensor& value, std::vector<std::pair<std::string, at::Tensor>>& out) {
  static const std::string kStacked = ".mlp.experts.";
  const size_t at = name.find(kStacked);
  if (at == std::string::npos) return out.emplace_back(name, value), void();
  const std::string before = name.substr(0, at + kStacked.size()), after = name.substr(at + kStacked.size());
  for (int64_t e = 0; e < value.size(0); ++e) out.emplace_back(fmt::format("{}{}.{}", before, e, after), value[e]);
}

}  // namespace

std::vector<std::pair<std::string, at::Tensor>> named_tensors(const CausalLM& model) {
  std::vector<std::pair<std::string, at::Tensor>> out;
  for (const Parameter& p : model.parameters().all()) add_published(p.name, p.value.detach(), out);
  const Architecture& a = model.architecture();
  const auto biases = model.router_biases();
  size_t next = 0;
  for (int64_t layer = 0; layer < a.num_hidden_layers && next < biases.size(); ++layer)
    if (a.is_moe_layer(layer)) out.emplace_back(fmt::format("model.layers.{}.mlp.gate.e_score_correction_bias", layer), biases[next++]);
  return out;
}

at::ScalarType stored_dtype(const std::string& name, at::ScalarType dtype) {
  return name.ends_with(".e_score_correction_bias") ? at::kFloat : dtype;
}

void save_model(const CausalLM& model, const std::string& folder, at::ScalarType dtype, uint64_t max_shard_bytes) {
  nlohmann::json config = architecture_to_json(model.architecture());
  set_dtype(config, dtype == at::kBFloat16 ? "bfloat16" : dtype == at::kHalf ? "float16" : "float32");
  std::vector<LazyTensor> tensors;
  for (const auto& [name, tensor] : named_tensors(model)) {
    const at::ScalarType stored = stored_dtype(name, dtype);
    tensors.push_back({name, stored, tensor.sizes().vec(), [tensor = tensor, stored] { return tensor.to(stored); }});
  }
  write_file_atomic(folder + "/config.json", config.dump(2) + "\n");
  write_sharded_safetensors(folder, tensors, max_shard_bytes);
}

Architecture load_architecture(const std::string& folder) {
  const Folder files(folder);
  const std::string path = files.place("config.json");
  return architecture_from_json(parse_json(files.read("config.json", kMaxConfigBytes), path), path);
}

namespace {

/// Collects what is wrong with tensors, up to a bound; from several threads.
class Problems {
 public:
  explicit Problems(const ShardedSafetensors& files) : files_(files) {}
  void add(const std::string& name, const std::string& text) {
    const std::lock_guard lock(mutex_);
    if (list_.size() < kMaxProblems && named_.insert(name).second) list_.push_back(files_.place(name) + ": " + text);
  }
  void finish() const {
    if (!list_.empty()) throw InputError(list_);
  }

 private:
  const ShardedSafetensors& files_;
  std::mutex mutex_;
  std::set<std::string> named_;
  std::vector<std::string> list_;
};

std::string dims(at::IntArrayRef shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

bool holds_tied_head(const CausalLM& model, const ShardedSafetensors& files) {
  return model.architecture().tie_word_embeddings && !model.parameters().find(kHead) && files.find(kHead) != nullptr;
}

void check_tensor(const std::string& name, at::IntArrayRef shape, const ShardedSafetensors& files, Problems& problems) {
  const auto* found = files.find(name);
  if (found == nullptr)
    problems.add(name, "expected in this model, found none");
  else if (!at::isFloatingType(found->info->dtype))
    problems.add(name, fmt::format("expected a floating-point type, found {}", at::toString(found->info->dtype)));
  else if (shape != at::IntArrayRef(found->info->shape))
    problems.add(name, fmt::format("expected shape {}, found {}", dims(shape), dims(found->info->shape)));
}

/// Part of a tensor and where its values go.
struct Piece {
  const std::string* name;
  int64_t begin, end;
  float* out;
};

/// Elements [begin, end) of a tensor of the model that this process keeps.
std::pair<int64_t, int64_t> kept(const CausalLM& model, const at::Tensor& tensor) {
  const ParameterSet& set = model.parameters();
  if (!model.sharded() || !tensor.is_alias_of(set.values())) return {0, tensor.numel()};
  const auto [first, last] = set.sharding()->slice(set.size());
  const int64_t offset = tensor.storage_offset();
  const int64_t begin = std::clamp<int64_t>(first - offset, 0, tensor.numel());
  return {begin, std::clamp<int64_t>(last - offset, begin, tensor.numel())};
}

std::vector<Piece> pieces_of(const CausalLM& model, const std::vector<std::pair<std::string, at::Tensor>>& tensors) {
  std::vector<Piece> pieces;
  for (const auto& [name, tensor] : tensors) {
    const auto [begin, end] = kept(model, tensor);
    for (int64_t i = begin; i < end; i += kPieceElements)
      pieces.push_back({&name, i, std::min(end, i + kPieceElements), static_cast<float*>(tensor.data_ptr()) + i});
  }
  return pieces;
}

/// Without a branch, so that the compiler makes vector instructions of it.
bool all_finite(const float* values, int64_t count) {
  uint32_t bad = 0;
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits = 0;
    std::memcpy(&bits, values + i, sizeof bits);
    bad |= static_cast<uint32_t>((bits & 0x7f800000u) == 0x7f800000u);
  }
  return bad == 0;
}

void read_pieces(const std::vector<Piece>& pieces, bool tied_head, const ShardedSafetensors& files, Problems& problems) {
  at::parallel_for(0, static_cast<int64_t>(pieces.size()), 1, [&](int64_t first, int64_t last) {
    std::vector<float> head;
    for (int64_t i = first; i < last; ++i) {
      const Piece& p = pieces[static_cast<size_t>(i)];
      files.read_floats(*p.name, p.begin, p.end, p.out);
      if (!all_finite(p.out, p.end - p.begin)) problems.add(*p.name, "expected finite values, found NaN or infinity");
      if (!tied_head || *p.name != kEmbedding) continue;
      head.resize(static_cast<size_t>(p.end - p.begin));
      files.read_floats(kHead, p.begin, p.end, head.data());
      if (std::memcmp(head.data(), p.out, head.size() * sizeof(float)) != 0)
        problems.add(kHead,
                     fmt::format("expected the values of {}, because config.json has tie_word_embeddings true, found others", kEmbedding));
    }
  });
}

}  // namespace

size_t check_tensors(const CausalLM& model, const ShardedSafetensors& files) {
  Problems problems(files);
  const auto wanted = named_tensors(model);
  const std::map<std::string, at::Tensor> by_name(wanted.begin(), wanted.end());
  const bool tied_head = holds_tied_head(model, files);
  size_t passed_over = 0;
  for (const auto& [name, unused] : files.tensors()) {
    if (by_name.count(name) || (tied_head && name == kHead)) continue;
    if (is_unread_tensor(model.architecture(), name))
      ++passed_over;
    else
      problems.add(name, "expected no such tensor in this model, found one");
  }
  for (const auto& [name, tensor] : by_name) check_tensor(name, tensor.sizes(), files, problems);
  if (tied_head) check_tensor(kHead, by_name.at(kEmbedding).sizes(), files, problems);
  problems.finish();
  return passed_over;
}

void load_weights(CausalLM& model, const ShardedSafetensors& files) {
  const Stopwatch clock;
  const size_t passed_over = check_tensors(model, files);
  if (passed_over > 0)
    log_info("{}: {} tensors are not read: layers for multi-token prediction, rotary tables", files.folder(), passed_over);
  if (!model.sharded()) prefer_large_pages(model.parameters().values());
  const auto tensors = named_tensors(model);
  Problems problems(files);
  const uint64_t before = files.bytes_read();
  read_pieces(pieces_of(model, tensors), holds_tied_head(model, files), files, problems);
  problems.finish();
  const double seconds = clock.seconds();
  log_debug("{}: {} of {} bytes of weights read in {:.3f} s", files.folder(), files.bytes_read() - before, files.bytes(), seconds);
}

namespace {

/// No model of this architecture has fewer, as files name them: in each layer two norms and four projections, and three for each expert.
int64_t least_tensors(const Architecture& a) {
  int64_t count = 0;
  for (int64_t layer = 0; layer < a.num_hidden_layers; ++layer) count += 6 + 3 * (a.is_moe_layer(layer) ? a.n_routed_experts : 1);
  return count;
}

/// A config.json has a few hundred bytes whatever it asks for, so what it asks for must be in the files.
void check_size(const Architecture& a, const ShardedSafetensors& files) {
  const auto require_held = [&](const char* what, int64_t least, int64_t small, int64_t held) {
    if (least > small && least / 2 > held)
      throw InputError(fmt::format("{}/config.json: expected a model of the {} {} in the safetensors files, found one of at least {}",
                                   files.folder(), held, what, least));
  };
  uint64_t numbers = 0;
  for (const auto& [name, entry] : files.tensors()) numbers += (entry.info->end - entry.info->begin) / c10::elementSize(entry.info->dtype);
  Architecture headless = a;  // a reward model has no head for words
  headless.sequence_classification = true;
  // What is small is built, at least as names and shapes, so that every tensor that does not fit is named.
  require_held("numbers", headless.parameters(), 1 << 24, static_cast<int64_t>(numbers));
  require_held("tensors", least_tensors(a), 1 << 16, static_cast<int64_t>(files.tensors().size()));

  constexpr int64_t kSmallTables = 128 << 20;  // 262,144 positions of 128
  const int64_t row = a.rotary_dim() * static_cast<int64_t>(sizeof(float));
  const int64_t most = (static_cast<int64_t>(files.bytes()) + kSmallTables) / row;
  if (a.max_position_embeddings > most)
    throw InputError(
        fmt::format("{}/config.json: max_position_embeddings: expected at most {}, whose rotary tables take no more memory "
                    "than the weights and 128 MiB, found {}",
                    files.folder(), most, a.max_position_embeddings));
}

}  // namespace

void check_model_folder(const std::string& folder) { check_size(load_architecture(folder), ShardedSafetensors(folder)); }

std::unique_ptr<CausalLM> load_model(const std::string& folder, ComputeType type, Head head, ParameterSharding* sharding) {
  const Architecture a = load_architecture(folder);
  const ShardedSafetensors files(folder);
  check_size(a, files);
  if (a.sequence_classification && head == Head::kLanguageModel)
    throw InputError(fmt::format("{}/config.json: architectures: expected a language model, found a sequence-classification head", folder));
  check_tensors(CausalLM(a, CausalLM::ShapesOnly{}, head), files);  // before numbers and rotary tables take memory
  auto model = std::make_unique<CausalLM>(a, std::nullopt, type, head);
  model->shard_parameters(sharding);
  load_weights(*model, files);
  return model;
}

}  // namespace cohort::model
