#include "core/model/architecture.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/base/error.h"
#include "core/model/families/family.h"

namespace cohort::model {
namespace {

/// Wide enough for any sizes in the ranges of Architecture::check: they make less than 2^80 parameters.
__extension__ using Count = __int128;

/// Bytes of a few thousand copies in fp32 still have 64-bit numbers.
constexpr Count kMaxParameters = Count{1} << 48;

Count attention_parameters(const Architecture& a) {
  const Count d = a.hidden_size, h = a.num_attention_heads;
  if (a.uses_mla()) {
    const Count qk = a.qk_nope_head_dim + a.qk_rope_head_dim;
    const Count q = a.q_lora_rank > 0 ? d * a.q_lora_rank + a.q_lora_rank + a.q_lora_rank * h * qk : d * h * qk;
    const Count kv = d * (a.kv_lora_rank + a.qk_rope_head_dim) + a.kv_lora_rank;
    return q + kv + a.kv_lora_rank * h * (a.qk_nope_head_dim + a.v_head_dim) + h * a.v_head_dim * d;
  }
  const Count q = h * a.head_dim, kv = a.num_key_value_heads * a.head_dim;
  return d * (q + 2 * kv) + q * d + (a.attention_bias ? q + 2 * kv : 0) + (a.attention_output_bias ? d : 0) +
         (a.qk_norm ? 2 * a.head_dim : 0);
}

/// `require(condition, key, expected, found)`.
template <class Require>
void check_rope_scaling(const RopeScaling& r, const Require& require) {
  if (r.type.empty()) return;
  const auto number = [](double x) { return fmt::format("{}", x); };
  require(r.factor >= 1 && std::isfinite(r.factor), "rope_scaling.factor", "at least 1", number(r.factor));
  require(r.original_max_position_embeddings > 0, "rope_scaling.original_max_position_embeddings", "above 0",
          number(r.original_max_position_embeddings));
  if (r.type == "yarn") {
    require(r.beta_slow > 0, "rope_scaling.beta_slow", "above 0", number(r.beta_slow));
    require(r.beta_fast >= r.beta_slow, "rope_scaling.beta_fast", "at least beta_slow", number(r.beta_fast));
    require(r.mscale >= 0, "rope_scaling.mscale", "at least 0", number(r.mscale));
    require(r.mscale_all_dim >= 0, "rope_scaling.mscale_all_dim", "at least 0", number(r.mscale_all_dim));
    require(r.attention_factor >= 0 && std::isfinite(r.attention_factor), "rope_scaling.attention_factor", "above 0",
            number(r.attention_factor));
  } else {
    require(r.low_freq_factor > 0, "rope_scaling.low_freq_factor", "above 0", number(r.low_freq_factor));
    require(r.high_freq_factor > r.low_freq_factor, "rope_scaling.high_freq_factor", "above low_freq_factor", number(r.high_freq_factor));
  }
}

Count swiglu_parameters(Count d, Count f) { return 3 * d * f; }

/// Parameters of all layers when `experts` of the routed experts are counted.
Count layer_parameters(const Architecture& a, int64_t experts) {
  const Count d = a.hidden_size;
  Count total = 0;
  for (int64_t layer = 0; layer < a.num_hidden_layers; ++layer) {
    total += attention_parameters(a) + 2 * d;
    if (!a.is_moe_layer(layer)) {
      total += swiglu_parameters(d, a.intermediate_size) + (a.mlp_bias ? 2 * a.intermediate_size + d : 0);
      continue;
    }
    total += (experts + a.n_shared_experts) * swiglu_parameters(d, a.moe_intermediate_size) + a.n_routed_experts * d;
    if (!a.softmax_router) total += a.n_routed_experts;
  }
  return total;
}

/// Embedding, final norm and head.
Count outer_parameters(const Architecture& a) {
  const Count embedding = Count{a.vocab_size} * a.hidden_size;
  const Count head = a.sequence_classification ? a.hidden_size : a.tie_word_embeddings ? 0 : embedding;
  return embedding + a.hidden_size + head;
}

Count count_parameters(const Architecture& a, int64_t experts) { return layer_parameters(a, experts) + outer_parameters(a); }

}  // namespace

bool Architecture::is_moe_layer(int64_t layer) const {
  return n_routed_experts > 0 && layer >= first_k_dense_replace &&
         std::find(mlp_only_layers.begin(), mlp_only_layers.end(), layer) == mlp_only_layers.end();
}

int64_t Architecture::parameters() const { return static_cast<int64_t>(count_parameters(*this, n_routed_experts)); }

int64_t Architecture::activated_parameters() const { return static_cast<int64_t>(count_parameters(*this, num_experts_per_tok)); }

int64_t Architecture::cache_floats_per_token() const {
  return num_hidden_layers * (uses_mla() ? kv_lora_rank + qk_rope_head_dim : 2 * num_key_value_heads * head_dim);
}

void Architecture::check(const std::string& where) const {
  std::vector<std::string> problems;
  const auto require = [&](bool ok, const char* key, const std::string& expected, const std::string& found) {
    if (!ok) problems.push_back(fmt::format("{}: {}: expected {}, found {}", where, key, expected, found));
  };
  const auto in_range = [&](const char* key, int64_t value, int64_t low, int64_t high) {
    require(value >= low && value <= high, key, fmt::format("{} to {}", low, high), std::to_string(value));
  };
  in_range("vocab_size", vocab_size, 1, 10'000'000);
  in_range("hidden_size", hidden_size, 1, 1 << 20);
  in_range("num_hidden_layers", num_hidden_layers, 1, 10'000);
  in_range("num_attention_heads", num_attention_heads, 1, 1 << 16);
  in_range("intermediate_size", intermediate_size, 1, 1 << 24);
  in_range("max_position_embeddings", max_position_embeddings, 1, 1 << 24);
  require(rms_norm_eps > 0 && rms_norm_eps < 1, "rms_norm_eps", "above 0 and below 1", fmt::format("{}", rms_norm_eps));
  require(initializer_range >= 0, "initializer_range", "at least 0", fmt::format("{}", initializer_range));
  require(rope_theta > (rope_scaling.type == "yarn" ? 1 : 0), "rope_theta", rope_scaling.type == "yarn" ? "above 1" : "above 0",
          fmt::format("{}", rope_theta));
  check_rope_scaling(rope_scaling, require);
  if (model_type.starts_with("deepseek")) in_range("kv_lora_rank", kv_lora_rank, 1, 1 << 20);
  if (uses_mla()) {
    in_range("q_lora_rank", q_lora_rank, 0, 1 << 20);
    in_range("qk_nope_head_dim", qk_nope_head_dim, 1, 1 << 16);
    in_range("qk_rope_head_dim", qk_rope_head_dim, 2, 1 << 16);
    in_range("v_head_dim", v_head_dim, 1, 1 << 16);
    require(qk_rope_head_dim % 2 == 0, "qk_rope_head_dim", "even and positive", std::to_string(qk_rope_head_dim));
  } else {
    in_range("head_dim", head_dim, 2, 1 << 16);
    require(num_key_value_heads > 0 && num_attention_heads % num_key_value_heads == 0, "num_key_value_heads",
            fmt::format("a divisor of {} heads", num_attention_heads), std::to_string(num_key_value_heads));
    require(head_dim % 2 == 0, "head_dim", "even and positive", std::to_string(head_dim));
  }
  // Two tables of half as many cosines and sines.
  const int64_t rotary = rotary_dim();
  require(max_position_embeddings < 0 || rotary < 0 || max_position_embeddings > 1 << 24 || rotary > 1 << 16 ||
              max_position_embeddings * rotary <= int64_t{1} << 28,
          "max_position_embeddings",
          fmt::format("at most {} with rotary parts of {}", (int64_t{1} << 28) / std::max<int64_t>(1, rotary), rotary),
          std::to_string(max_position_embeddings));
  in_range("num_nextn_predict_layers", num_nextn_predict_layers, 0, 1 << 10);
  in_range("n_routed_experts", n_routed_experts, 0, 1 << 16);
  if (n_routed_experts > 0) {
    in_range("n_shared_experts", n_shared_experts, 0, 1 << 10);
    in_range("moe_intermediate_size", moe_intermediate_size, 1, 1 << 24);
    in_range("first_k_dense_replace", first_k_dense_replace, 0, num_hidden_layers);
    const auto dense = static_cast<int64_t>(mlp_only_layers.size());
    require(dense <= num_hidden_layers, "mlp_only_layers", fmt::format("at most {} layers", num_hidden_layers), std::to_string(dense));
    for (int64_t layer : mlp_only_layers) in_range("mlp_only_layers", layer, 0, std::max<int64_t>(1, num_hidden_layers) - 1);
    require(routed_scaling_factor > 0 && std::isfinite(routed_scaling_factor), "routed_scaling_factor", "above 0",
            fmt::format("{}", routed_scaling_factor));
    require(n_group > 0 && n_routed_experts % n_group == 0, "n_group", fmt::format("a divisor of {} experts", n_routed_experts),
            std::to_string(n_group));
    in_range("topk_group", topk_group, 1, n_group);
    if (1 <= topk_group && topk_group <= n_group)  // else there is no range to name
      in_range("num_experts_per_tok", num_experts_per_tok, 1, n_routed_experts / n_group * topk_group);
  }
  if (const Count count = problems.empty() ? count_parameters(*this, n_routed_experts) : 0; count > kMaxParameters)
    problems.push_back(fmt::format("{}: expected sizes that make at most {} parameters, found {}", where, kMaxParameters, count));
  if (!problems.empty()) throw InputError(problems);
}

namespace {

Architecture deepseek_v3_tiny() {
  Architecture a;
  a.model_type = "deepseek_v3";
  a.hidden_size = 96;
  a.num_hidden_layers = 4;
  a.num_attention_heads = 4;
  a.intermediate_size = 256;
  a.q_lora_rank = 64;
  a.kv_lora_rank = 32;
  a.qk_nope_head_dim = 16;
  a.qk_rope_head_dim = 16;
  a.v_head_dim = 24;
  a.n_routed_experts = 8;
  a.n_shared_experts = 1;
  a.num_experts_per_tok = 2;
  a.moe_intermediate_size = 80;
  a.n_group = 4;
  a.topk_group = 2;
  a.first_k_dense_replace = 1;
  a.routed_scaling_factor = 1.0;
  a.initializer_range = 0.05;
  return a;
}

Architecture dense(int64_t hidden, int64_t layers, int64_t intermediate) {
  Architecture a;
  a.model_type = "qwen2";
  a.hidden_size = hidden;
  a.num_hidden_layers = layers;
  a.num_attention_heads = 4;
  a.num_key_value_heads = 2;
  a.head_dim = hidden / 4;
  a.intermediate_size = intermediate;
  a.attention_bias = true;
  a.tie_word_embeddings = true;
  a.initializer_range = 0.05;
  return a;
}

/// The models of the calibration runs: multi-head attention, no sharing of keys.
Architecture calibration(int64_t hidden, int64_t layers, int64_t heads) {
  Architecture a = dense(hidden, layers, hidden * 8 / 3);
  a.num_attention_heads = a.num_key_value_heads = heads;
  a.head_dim = hidden / heads;
  a.tie_word_embeddings = false;
  return a;
}

/// The published model of run B has four layers with LayerNorm, learned positions and GELU, and generalises from few demonstrations. Rotary
/// positions and SwiGLU need some help for that: a base for nine positions instead of thousands, weights near 1/sqrt(width), so that the
/// product of two projections takes part from the start, and two more layers.
Architecture calibration_b() {
  Architecture a = calibration(64, 6, 4);
  a.rope_theta = 10.0;
  a.initializer_range = 0.1;
  return a;
}

/// DeepSeek-V3, 671B (config.json of DeepSeek-R1).
Architecture deepseek_v3() {
  Architecture a;
  a.model_type = "deepseek_v3";
  a.vocab_size = 129280;
  a.hidden_size = 7168;
  a.num_hidden_layers = 61;
  a.num_attention_heads = 128;
  a.intermediate_size = 18432;
  a.q_lora_rank = 1536;
  a.kv_lora_rank = 512;
  a.qk_nope_head_dim = 128;
  a.qk_rope_head_dim = 64;
  a.v_head_dim = 128;
  a.n_routed_experts = 256;
  a.n_shared_experts = 1;
  a.num_experts_per_tok = 8;
  a.moe_intermediate_size = 2048;
  a.n_group = 8;
  a.topk_group = 4;
  a.first_k_dense_replace = 3;
  a.routed_scaling_factor = 2.5;
  a.max_position_embeddings = 163840;
  a.rope_scaling = {.type = "yarn", .factor = 40.0, .original_max_position_embeddings = 4096.0, .mscale = 1.0, .mscale_all_dim = 1.0};
  return a;
}

}  // namespace

const std::vector<std::string>& architecture_preset_names() {
  static const std::vector<std::string> names = {"deepseek_v3_tiny", "dense_tiny", "calibration_a", "calibration_b", "deepseek_v3"};
  return names;
}

Architecture architecture_preset(const std::string& name) {
  if (name == "deepseek_v3_tiny") return deepseek_v3_tiny();
  if (name == "dense_tiny") return dense(96, 3, 256);
  if (name == "calibration_a") return calibration(32, 2, 2);
  if (name == "calibration_b") return calibration_b();
  if (name == "deepseek_v3") return deepseek_v3();
  throw InputError(fmt::format("model.preset: expected one of {}, found \"{}\"", fmt::join(architecture_preset_names(), ", "), name));
}

Architecture architecture_from_json(const nlohmann::json& config, const std::string& where) {
  Architecture a = read_family_config(config, where);
  a.check(where);
  a.published_config = config.dump();
  return a;
}

bool same_decoder(const Architecture& a, const Architecture& b) { return write_family_config(a) == write_family_config(b); }

void set_dtype(nlohmann::json& config, const std::string& dtype) {
  const bool present = config.contains("torch_dtype") || config.contains("dtype");
  for (const char* key : {"torch_dtype", "dtype"})
    if (config.contains(key) || (!present && key == std::string("torch_dtype"))) config[key] = dtype;
}

nlohmann::json architecture_to_json(const Architecture& a) {
  nlohmann::json config = write_family_config(a);
  // A model that was changed after it was read is not what the file said.
  if (!a.published_config.empty()) {
    nlohmann::json published = nlohmann::json::parse(a.published_config);
    if (same_decoder(read_family_config(published, "config.json"), a)) config = std::move(published);
  }
  config.erase("quantization_config");
  // It names Python files of the published folder, which are not copied: programs that are told to trust them would look for them here and
  // stop. All families that are read here have their code in transformers and vLLM.
  config.erase("auto_map");
  if (config.contains("num_nextn_predict_layers")) config["num_nextn_predict_layers"] = 0;
  set_dtype(config, "float32");
  if (!a.sequence_classification && !config.contains("architectures")) return config;
  const std::string prefix = find_family(a.model_type)->class_prefix;
  config["architectures"] = nlohmann::json::array({prefix + (a.sequence_classification ? "ForSequenceClassification" : "ForCausalLM")});
  if (a.sequence_classification) {
    config.erase("num_labels");
    config["id2label"] = {{"0", "LABEL_0"}}, config["label2id"] = {{"LABEL_0", 0}};
  }
  return config;
}

bool is_prediction_tensor(const Architecture& a, const std::string& name) {
  constexpr std::string_view kLayers = "model.layers.";
  if (!name.starts_with(kLayers)) return false;
  int64_t layer = 0;
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + kLayers.size(), end, layer);
  const bool number = error == std::errc() && stop != end && *stop == '.';
  return number && layer >= a.num_hidden_layers && layer - a.num_hidden_layers < a.num_nextn_predict_layers;
}

bool is_unread_tensor(const Architecture& a, const std::string& name) {
  return name.ends_with(".rotary_emb.inv_freq") || is_prediction_tensor(a, name);
}

}  // namespace cohort::model
