#include "core/model/weights_io.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/text_util.h"
#include "core/model/safetensors.h"

namespace cohort::model {
namespace {

constexpr uint64_t kMaxConfigBytes = 1 << 20;
constexpr size_t kMaxProblems = 20;

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

void save_model(const CausalLM& model, const std::string& folder) {
  write_file_atomic(folder + "/config.json", architecture_to_json(model.architecture()).dump(2) + "\n");
  write_safetensors(folder + "/model.safetensors", named_tensors(model), {{"format", "pt"}});
}

Architecture load_architecture(const std::string& folder) {
  const std::string path = folder + "/config.json";
  return architecture_from_json(parse_json(read_file(path, kMaxConfigBytes), path), path);
}

void load_weights(CausalLM& model, const std::string& folder) {
  const SafetensorsFile file(folder + "/model.safetensors");
  std::vector<std::string> problems;
  const auto problem = [&](const std::string& name, const std::string& text) {
    if (problems.size() < kMaxProblems) problems.push_back(fmt::format("{}: tensor '{}': {}", file.path(), printable(name), text));
  };
  const auto wanted = named_tensors(model);
  std::map<std::string, at::Tensor> by_name(wanted.begin(), wanted.end());
  for (const auto& [name, info] : file.tensors())
    if (!by_name.count(name) && !is_unread_tensor(model.architecture(), name))
      problem(name, "expected no such tensor in this model, found one");
  for (const auto& [name, tensor] : by_name) {
    const auto found = file.tensors().find(name);
    if (found == file.tensors().end())
      problem(name, "expected in this model, found none");
    else if (!at::isFloatingType(found->second.dtype))
      problem(name, fmt::format("expected a floating-point type, found {}", at::toString(found->second.dtype)));
    else if (tensor.sizes() != at::IntArrayRef(found->second.shape))
      problem(name, fmt::format("expected shape [{}], found [{}]", fmt::join(tensor.sizes(), ", "), fmt::join(found->second.shape, ", ")));
  }
  if (!problems.empty()) throw InputError(problems);
  for (auto& [name, tensor] : by_name) {
    const at::Tensor value = file.load(name).to(at::kFloat);
    if (!at::isfinite(value).all().item<bool>()) problem(name, "expected finite values, found NaN or infinity");
    tensor.copy_(value);
  }
  if (!problems.empty()) throw InputError(problems);
}

void check_model_folder(const std::string& folder) {
  const Architecture a = load_architecture(folder);
  const SafetensorsFile file(folder + "/model.safetensors");
  int64_t held = 0;
  for (const auto& [name, info] : file.tensors())
    held += std::accumulate(info.shape.begin(), info.shape.end(), int64_t{1}, std::multiplies<>());
  Architecture headless = a;  // a reward model has no head for words
  headless.sequence_classification = true;
  const int64_t least = headless.parameters();
  constexpr int64_t kSmall = 1 << 24;  // a model of this size is built, so that every tensor that does not fit is named
  if (least > kSmall && least / 2 > held)
    throw InputError(fmt::format("{}/config.json: expected a model of the {} numbers in model.safetensors, found one of at least {}",
                                 folder, held, least));
}

std::unique_ptr<CausalLM> load_model(const std::string& folder, ComputeType type, Head head) {
  check_model_folder(folder);
  const Architecture a = load_architecture(folder);
  if (a.sequence_classification && head == Head::kLanguageModel)
    throw InputError(fmt::format("{}/config.json: architectures: expected a language model, found a sequence-classification head", folder));
  auto model = std::make_unique<CausalLM>(a, 0, type, head);
  load_weights(*model, folder);
  return model;
}

}  // namespace cohort::model
