#include "core/model/architecture.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/text_util.h"

namespace cohort::model {
namespace {

int64_t attention_parameters(const Architecture& a) {
  const int64_t d = a.hidden_size, h = a.num_attention_heads;
  if (a.uses_mla()) {
    const int64_t qk = a.qk_nope_head_dim + a.qk_rope_head_dim;
    const int64_t q = a.q_lora_rank > 0 ? d * a.q_lora_rank + a.q_lora_rank + a.q_lora_rank * h * qk : d * h * qk;
    const int64_t kv = d * (a.kv_lora_rank + a.qk_rope_head_dim) + a.kv_lora_rank;
    return q + kv + a.kv_lora_rank * h * (a.qk_nope_head_dim + a.v_head_dim) + h * a.v_head_dim * d;
  }
  const int64_t q = h * a.head_dim, kv = a.num_key_value_heads * a.head_dim;
  return d * (q + 2 * kv) + q * d + (a.attention_bias ? q + 2 * kv : 0) + (a.qk_norm ? 2 * a.head_dim : 0);
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
  } else {
    require(r.low_freq_factor > 0, "rope_scaling.low_freq_factor", "above 0", number(r.low_freq_factor));
    require(r.high_freq_factor > r.low_freq_factor, "rope_scaling.high_freq_factor", "above low_freq_factor", number(r.high_freq_factor));
  }
}

int64_t swiglu_parameters(int64_t d, int64_t f) { return 3 * d * f; }

/// Parameters of all layers when `experts` of the routed experts are counted.
int64_t layer_parameters(const Architecture& a, int64_t experts) {
  const int64_t d = a.hidden_size;
  int64_t total = 0;
  for (int64_t layer = 0; layer < a.num_hidden_layers; ++layer) {
    total += attention_parameters(a) + 2 * d;
    if (!a.is_moe_layer(layer)) {
      total += swiglu_parameters(d, a.intermediate_size);
      continue;
    }
    total += (experts + a.n_shared_experts) * swiglu_parameters(d, a.moe_intermediate_size) + a.n_routed_experts * d;
    if (!a.softmax_router) total += a.n_routed_experts;
  }
  return total;
}

}  // namespace

bool Architecture::is_moe_layer(int64_t layer) const {
  return n_routed_experts > 0 && layer >= first_k_dense_replace &&
         std::find(mlp_only_layers.begin(), mlp_only_layers.end(), layer) == mlp_only_layers.end();
}

int64_t Architecture::parameters() const {
  return layer_parameters(*this, n_routed_experts) + vocab_size * hidden_size * (tie_word_embeddings ? 1 : 2) + hidden_size;
}

int64_t Architecture::activated_parameters() const {
  return layer_parameters(*this, num_experts_per_tok) + vocab_size * hidden_size * (tie_word_embeddings ? 1 : 2) + hidden_size;
}

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
  if (model_type == "deepseek_v3") in_range("kv_lora_rank", kv_lora_rank, 1, 1 << 20);
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
  in_range("n_routed_experts", n_routed_experts, 0, 1 << 16);
  if (n_routed_experts > 0) {
    in_range("n_shared_experts", n_shared_experts, 0, 1 << 10);
    in_range("moe_intermediate_size", moe_intermediate_size, 1, 1 << 24);
    in_range("first_k_dense_replace", first_k_dense_replace, 0, num_hidden_layers);
    for (int64_t layer : mlp_only_layers) in_range("mlp_only_layers", layer, 0, num_hidden_layers - 1);
    require(routed_scaling_factor > 0 && std::isfinite(routed_scaling_factor), "routed_scaling_factor", "above 0",
            fmt::format("{}", routed_scaling_factor));
    require(n_group > 0 && n_routed_experts % n_group == 0, "n_group", fmt::format("a divisor of {} experts", n_routed_experts),
            std::to_string(n_group));
    in_range("topk_group", topk_group, 1, n_group);
    if (n_group > 0) in_range("num_experts_per_tok", num_experts_per_tok, 1, n_routed_experts / n_group * topk_group);
  }
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

namespace {

/// Reads typed keys of config.json and remembers what is wrong with them.
class JsonKeys {
 public:
  JsonKeys(const nlohmann::json& config, std::string where) : config_(config), where_(std::move(where)) {}

  void integer(const char* key, int64_t& out, bool needed = true) {
    const auto* value = find(key, needed);
    if (!value) return;
    if (value->is_number_integer())
      out = value->get<int64_t>();
    else
      bad(key, "an integer", *value);
  }
  void number(const char* key, double& out, bool needed = true) {
    const auto* value = find(key, needed);
    if (!value) return;
    if (value->is_number())
      out = value->get<double>();
    else
      bad(key, "a number", *value);
  }
  void flag(const char* key, bool& out, bool needed = true) {
    const auto* value = find(key, needed);
    if (!value) return;
    if (value->is_boolean())
      out = value->get<bool>();
    else
      bad(key, "true or false", *value);
  }
  void integers(const char* key, std::vector<int64_t>& out) {
    const auto* value = find(key, false);
    if (!value) return;
    if (!value->is_array() || !std::all_of(value->begin(), value->end(), [](const auto& x) { return x.is_number_integer(); }))
      return bad(key, "a list of integers", *value);
    out = value->get<std::vector<int64_t>>();
  }
  /// A feature that this project has in one form only.
  void only(const char* key, const nlohmann::json& supported) {
    if (has(key) && config_.at(key) != supported) bad(key, (supported.dump() + " (nothing else is supported)").c_str(), config_.at(key));
  }
  bool has(const char* key) const { return config_.contains(key) && !config_.at(key).is_null(); }
  void bad(const char* key, const char* expected, const nlohmann::json& found) {
    problems_.push_back(fmt::format("{}: {}: expected {}, found {}", where_, key, expected, found.dump()));
  }
  void finish() const {
    if (!problems_.empty()) throw InputError(problems_);
  }

 private:
  const nlohmann::json* find(const char* key, bool needed) {
    if (has(key)) return &config_.at(key);
    if (needed) problems_.push_back(fmt::format("{}: {}: expected a value, found none", where_, key));
    return nullptr;
  }

  const nlohmann::json& config_;
  std::string where_;
  std::vector<std::string> problems_;
};

RopeScaling rope_scaling_from_json(const nlohmann::json& config, const std::string& where, double max_position) {
  RopeScaling r;
  const auto& type = config.at(config.contains("rope_type") ? "rope_type" : "type");
  if (!type.is_string()) throw InputError(fmt::format("{}: rope_scaling: expected yarn or llama3, found {}", where, type.dump()));
  r.type = type.get<std::string>();
  if (r.type == "default") return {};
  if (r.type != "yarn" && r.type != "llama3")
    throw InputError(fmt::format("{}: rope_scaling: expected yarn or llama3, found \"{}\"", where, r.type));
  JsonKeys keys(config, where + ": rope_scaling");
  r.original_max_position_embeddings = max_position;
  keys.number("factor", r.factor);
  keys.number("original_max_position_embeddings", r.original_max_position_embeddings, false);
  if (r.type == "yarn") {
    keys.number("beta_fast", r.beta_fast, false), keys.number("beta_slow", r.beta_slow, false);
    r.mscale = 0.0;
    keys.number("mscale", r.mscale, false), keys.number("mscale_all_dim", r.mscale_all_dim, false);
  } else {
    keys.number("low_freq_factor", r.low_freq_factor), keys.number("high_freq_factor", r.high_freq_factor);
  }
  keys.finish();
  return r;
}

void read_experts(JsonKeys& keys, Architecture& a, bool deepseek) {
  // transformers 5 writes num_local_experts where published files have num_experts.
  keys.integer(deepseek ? "n_routed_experts" : keys.has("num_local_experts") ? "num_local_experts" : "num_experts", a.n_routed_experts);
  keys.integer("num_experts_per_tok", a.num_experts_per_tok);
  keys.integer("moe_intermediate_size", a.moe_intermediate_size);
  keys.flag("norm_topk_prob", a.norm_topk_prob);
  a.softmax_router = !deepseek;
  if (!deepseek) keys.integers("mlp_only_layers", a.mlp_only_layers);
  if (!deepseek) return;
  keys.integer("n_shared_experts", a.n_shared_experts, false);
  keys.integer("n_group", a.n_group, false), keys.integer("topk_group", a.topk_group, false);
  keys.integer("first_k_dense_replace", a.first_k_dense_replace);
  keys.number("routed_scaling_factor", a.routed_scaling_factor);
}

}  // namespace

Architecture architecture_from_json(const nlohmann::json& config, const std::string& where) {
  if (!config.is_object()) throw InputError(where + ": expected an object");
  Architecture a;
  a.model_type = config.contains("model_type") && config.at("model_type").is_string() ? config.at("model_type").get<std::string>() : "";
  const bool deepseek = a.model_type == "deepseek_v3", qwen2 = a.model_type == "qwen2", qwen3_moe = a.model_type == "qwen3_moe";
  if (!deepseek && !qwen2 && !qwen3_moe)
    throw InputError(fmt::format("{}: model_type: expected deepseek_v3, qwen2 or qwen3_moe, found \"{}\"", where, a.model_type));
  JsonKeys keys(config, where);
  keys.integer("vocab_size", a.vocab_size), keys.integer("hidden_size", a.hidden_size);
  keys.integer("num_hidden_layers", a.num_hidden_layers), keys.integer("num_attention_heads", a.num_attention_heads);
  keys.integer("intermediate_size", a.intermediate_size), keys.integer("max_position_embeddings", a.max_position_embeddings);
  keys.number("rms_norm_eps", a.rms_norm_eps), keys.flag("tie_word_embeddings", a.tie_word_embeddings, false);
  keys.number("initializer_range", a.initializer_range, false);
  // transformers 5 moves rope_theta and rope_scaling into rope_parameters; published files have them at the top.
  const nlohmann::json rope = keys.has("rope_parameters") ? config.at("rope_parameters")
                              : keys.has("rope_scaling")  ? config.at("rope_scaling")
                                                          : nlohmann::json();
  if (!rope.is_null() && !rope.is_object()) keys.bad("rope_scaling", "an object or null", rope);
  if (rope.is_object() && rope.contains("rope_theta")) JsonKeys(rope, where + ": rope_parameters").number("rope_theta", a.rope_theta);
  keys.number("rope_theta", a.rope_theta, false);
  if (deepseek) {
    if (keys.has("q_lora_rank")) keys.integer("q_lora_rank", a.q_lora_rank);
    keys.integer("kv_lora_rank", a.kv_lora_rank), keys.integer("qk_nope_head_dim", a.qk_nope_head_dim);
    keys.integer("qk_rope_head_dim", a.qk_rope_head_dim), keys.integer("v_head_dim", a.v_head_dim);
  } else {
    a.head_dim = a.num_attention_heads > 0 ? a.hidden_size / a.num_attention_heads : 0;
    keys.integer("num_key_value_heads", a.num_key_value_heads), keys.integer("head_dim", a.head_dim, false);
    a.attention_bias = qwen2;
    a.qk_norm = qwen3_moe;
  }
  if (!qwen2) read_experts(keys, a, deepseek);
  keys.only("hidden_act", "silu");
  if (!qwen2) keys.only("attention_bias", false);
  if (deepseek)
    keys.only("rope_interleave", true), keys.only("scoring_func", "sigmoid"), keys.only("topk_method", "noaux_tc"),
        keys.only("moe_layer_freq", 1);
  if (qwen3_moe) keys.only("decoder_sparse_step", 1);
  bool window = false;
  keys.flag("use_sliding_window", window, false);
  if (window) keys.bad("use_sliding_window", "false (sliding windows are not supported)", true);
  keys.finish();
  if (rope.is_object() && (rope.contains("type") || rope.contains("rope_type")))
    a.rope_scaling = rope_scaling_from_json(rope, where, static_cast<double>(a.max_position_embeddings));
  a.check(where);
  return a;
}

nlohmann::json architecture_to_json(const Architecture& a) {
  nlohmann::json j = {{"model_type", a.model_type},
                      {"vocab_size", a.vocab_size},
                      {"hidden_size", a.hidden_size},
                      {"num_hidden_layers", a.num_hidden_layers},
                      {"num_attention_heads", a.num_attention_heads},
                      {"intermediate_size", a.intermediate_size},
                      {"rms_norm_eps", a.rms_norm_eps},
                      {"rope_theta", a.rope_theta},
                      {"max_position_embeddings", a.max_position_embeddings},
                      {"tie_word_embeddings", a.tie_word_embeddings},
                      {"initializer_range", a.initializer_range},
                      {"hidden_act", "silu"},
                      {"torch_dtype", "float32"}};
  const RopeScaling& r = a.rope_scaling;
  if (r.type == "yarn")
    j["rope_scaling"] = {{"type", r.type},
                         {"factor", r.factor},
                         {"original_max_position_embeddings", static_cast<int64_t>(r.original_max_position_embeddings)},
                         {"beta_fast", r.beta_fast},
                         {"beta_slow", r.beta_slow},
                         {"mscale", r.mscale},
                         {"mscale_all_dim", r.mscale_all_dim}};
  if (r.type == "llama3")
    j["rope_scaling"] = {{"rope_type", r.type},
                         {"factor", r.factor},
                         {"original_max_position_embeddings", static_cast<int64_t>(r.original_max_position_embeddings)},
                         {"low_freq_factor", r.low_freq_factor},
                         {"high_freq_factor", r.high_freq_factor}};
  if (a.uses_mla()) {
    j["architectures"] = {"DeepseekV3ForCausalLM"};
    j["q_lora_rank"] = a.q_lora_rank > 0 ? nlohmann::json(a.q_lora_rank) : nlohmann::json(nullptr);
    j["kv_lora_rank"] = a.kv_lora_rank, j["qk_nope_head_dim"] = a.qk_nope_head_dim;
    j["qk_rope_head_dim"] = a.qk_rope_head_dim, j["v_head_dim"] = a.v_head_dim;
    j["num_key_value_heads"] = a.num_attention_heads, j["attention_bias"] = false, j["rope_interleave"] = true;
  } else {
    j["architectures"] = {a.model_type == "qwen2" ? "Qwen2ForCausalLM" : "Qwen3MoeForCausalLM"};
    j["num_key_value_heads"] = a.num_key_value_heads, j["head_dim"] = a.head_dim, j["use_sliding_window"] = false;
  }
  if (a.n_routed_experts > 0) {
    const bool deepseek = a.model_type == "deepseek_v3";
    j[deepseek ? "n_routed_experts" : "num_experts"] = a.n_routed_experts;
    j["num_experts_per_tok"] = a.num_experts_per_tok, j["moe_intermediate_size"] = a.moe_intermediate_size,
    j["norm_topk_prob"] = a.norm_topk_prob;
    if (!deepseek) j["mlp_only_layers"] = a.mlp_only_layers, j["decoder_sparse_step"] = 1;
    if (deepseek) {
      j["n_shared_experts"] = a.n_shared_experts, j["n_group"] = a.n_group, j["topk_group"] = a.topk_group;
      j["first_k_dense_replace"] = a.first_k_dense_replace, j["routed_scaling_factor"] = a.routed_scaling_factor;
      j["scoring_func"] = "sigmoid", j["topk_method"] = "noaux_tc", j["moe_layer_freq"] = 1;
    }
  }
  return j;
}

}  // namespace cohort::model
