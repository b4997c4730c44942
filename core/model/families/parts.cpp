#include "core/model/families/parts.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace cohort::model {
namespace {

using nlohmann::json;
using Need = ConfigKeys::Need;

void read_scaling(ConfigKeys& keys, RopeScaling& r, double max_position) {
  keys.number("factor", r.factor);
  r.original_max_position_embeddings = max_position;
  keys.number("original_max_position_embeddings", r.original_max_position_embeddings, Need::kOptional);
  if (r.type == "llama3") {
    keys.number("low_freq_factor", r.low_freq_factor), keys.number("high_freq_factor", r.high_freq_factor);
    return;
  }
  keys.number("beta_fast", r.beta_fast, Need::kOptional), keys.number("beta_slow", r.beta_slow, Need::kOptional);
  r.mscale = 0.0;
  keys.number("mscale", r.mscale, Need::kOptional), keys.number("mscale_all_dim", r.mscale_all_dim, Need::kOptional);
  keys.number("attention_factor", r.attention_factor, Need::kOptional);
  keys.only("truncate", true);
}

/// The value of an object under `key`, with its problems named after it.
void read_rope_object(ConfigKeys& keys, const char* key, Architecture& a) {
  const json& object = keys.at(key);
  if (!object.is_object()) return keys.bad(key, "an object or null", object);
  ConfigKeys rope(object, keys.where() + ": " + key);
  if (rope.has("rope_theta")) rope.number("rope_theta", a.rope_theta);
  rope.only("partial_rotary_factor", 1);
  const char* name = rope.has("rope_type") ? "rope_type" : "type";
  if (rope.has("rope_type") && rope.has("type") && rope.at("rope_type") != rope.at("type")) {
    rope.bad("type", "the value of rope_type", rope.at("type"));
    return keys.add_problems_of(rope);
  }
  const json type = rope.has(name) ? rope.at(name) : json("default");
  if (type == "yarn" || type == "llama3") {
    a.rope_scaling.type = type.get<std::string>();
    read_scaling(rope, a.rope_scaling, static_cast<double>(a.max_position_embeddings));
  } else if (type != "default") {
    return keys.bad(key, "yarn or llama3", type);
  }
  rope.refuse_unknown("rope type " + type.get<std::string>());
  keys.add_problems_of(rope);
}

}  // namespace

void read_rope(ConfigKeys& keys, Architecture& a) {
  keys.ignore({"rope_theta"});  // also where what follows returns early
  const bool both = keys.has("rope_parameters") && keys.has("rope_scaling");
  if (both && keys.at("rope_parameters") != keys.at("rope_scaling"))
    return keys.bad("rope_scaling", "nothing beside rope_parameters", keys.at("rope_scaling"));
  if (keys.has("rope_parameters"))
    read_rope_object(keys, "rope_parameters", a);
  else if (keys.has("rope_scaling"))
    read_rope_object(keys, "rope_scaling", a);
  double theta = a.rope_theta;
  keys.number("rope_theta", theta, Need::kOptional);
  const bool twice = keys.has("rope_theta") && keys.has("rope_parameters") && keys.at("rope_parameters").is_object() &&
                     keys.at("rope_parameters").contains("rope_theta");
  if (twice && theta != a.rope_theta) keys.bad("rope_theta", "the value in rope_parameters", keys.at("rope_theta"));
  a.rope_theta = theta;
}

void write_rope(const Architecture& a, json& config) {
  const RopeScaling& r = a.rope_scaling;
  config["rope_theta"] = a.rope_theta;
  if (r.type == "yarn") {
    config["rope_scaling"] = {{"type", r.type},
                              {"factor", r.factor},
                              {"original_max_position_embeddings", static_cast<int64_t>(r.original_max_position_embeddings)},
                              {"beta_fast", r.beta_fast},
                              {"beta_slow", r.beta_slow},
                              {"mscale", r.mscale},
                              {"mscale_all_dim", r.mscale_all_dim}};
    if (r.attention_factor > 0.0) config["rope_scaling"]["attention_factor"] = r.attention_factor;
  }
  if (r.type == "llama3")
    config["rope_scaling"] = {{"rope_type", r.type},
                              {"factor", r.factor},
                              {"original_max_position_embeddings", static_cast<int64_t>(r.original_max_position_embeddings)},
                              {"low_freq_factor", r.low_freq_factor},
                              {"high_freq_factor", r.high_freq_factor}};
}

void read_grouped_query(ConfigKeys& keys, Architecture& a) {
  a.head_dim = a.num_attention_heads > 0 ? a.hidden_size / a.num_attention_heads : 0;
  keys.integer("num_key_value_heads", a.num_key_value_heads);
  keys.integer("head_dim", a.head_dim, Need::kOptional);
}

void write_grouped_query(const Architecture& a, json& config) {
  config["num_key_value_heads"] = a.num_key_value_heads, config["head_dim"] = a.head_dim;
}

void refuse_sliding_window(ConfigKeys& keys, const Architecture& a, bool all_layers) {
  bool used = false;
  int64_t window = 0, first_layer = a.num_hidden_layers;
  keys.flag("use_sliding_window", used, Need::kOptional);
  keys.integer("sliding_window", window, Need::kOptional);
  keys.integer("max_window_layers", first_layer, Need::kOptional);
  if (used && !keys.names("sliding_window"))
    return keys.bad("use_sliding_window", "sliding_window beside it, as transformers has a window of its own without it", true);
  const bool cuts = window > 0 && window < a.max_position_embeddings;
  const bool which = keys.has("max_window_layers");  // without it transformers counts up to a layer of its own choice
  if (used && cuts && (all_layers || !which || first_layer < a.num_hidden_layers))
    keys.bad(
        "use_sliding_window",
        fmt::format("false (windows are not supported, and sliding_window {} is within {} positions)", window, a.max_position_embeddings),
        true);
}

void read_latent_attention(ConfigKeys& keys, Architecture& a) {
  keys.integer("q_lora_rank", a.q_lora_rank, Need::kOptional);
  keys.integer("kv_lora_rank", a.kv_lora_rank), keys.integer("qk_nope_head_dim", a.qk_nope_head_dim);
  keys.integer("qk_rope_head_dim", a.qk_rope_head_dim), keys.integer("v_head_dim", a.v_head_dim);
  keys.agrees("num_key_value_heads", a.num_attention_heads, "num_attention_heads");
  keys.agrees("head_dim", a.qk_rope_head_dim, "qk_rope_head_dim");  // transformers writes it for its rotary code
  if (a.qk_nope_head_dim >= 0 && a.qk_nope_head_dim <= 1 << 16 && a.qk_rope_head_dim >= 0 && a.qk_rope_head_dim <= 1 << 16)
    keys.agrees("qk_head_dim", a.qk_nope_head_dim + a.qk_rope_head_dim, "qk_nope_head_dim + qk_rope_head_dim");
  keys.only("attention_bias", false), keys.only("mlp_bias", false);
}

void write_latent_attention(const Architecture& a, json& config) {
  config["q_lora_rank"] = a.q_lora_rank > 0 ? json(a.q_lora_rank) : json(nullptr);
  config["kv_lora_rank"] = a.kv_lora_rank, config["qk_nope_head_dim"] = a.qk_nope_head_dim;
  config["qk_rope_head_dim"] = a.qk_rope_head_dim, config["v_head_dim"] = a.v_head_dim;
  config["num_key_value_heads"] = a.num_attention_heads, config["attention_bias"] = false;
}

void read_deepseek_experts(ConfigKeys& keys, Architecture& a) {
  keys.integer("n_routed_experts", a.n_routed_experts);
  keys.integer("num_experts_per_tok", a.num_experts_per_tok);
  keys.integer("moe_intermediate_size", a.moe_intermediate_size);
  keys.integer("n_shared_experts", a.n_shared_experts);
  keys.integer("first_k_dense_replace", a.first_k_dense_replace);
  keys.number("routed_scaling_factor", a.routed_scaling_factor);
  keys.only("moe_layer_freq", 1);
  keys.ignore({"ep_size", "aux_loss_alpha", "seq_aux", "output_router_logits", "router_aux_loss_coef"});
}

void write_deepseek_experts(const Architecture& a, json& config) {
  config["n_routed_experts"] = a.n_routed_experts, config["num_experts_per_tok"] = a.num_experts_per_tok;
  config["moe_intermediate_size"] = a.moe_intermediate_size, config["n_shared_experts"] = a.n_shared_experts;
  config["first_k_dense_replace"] = a.first_k_dense_replace, config["routed_scaling_factor"] = a.routed_scaling_factor;
  config["norm_topk_prob"] = a.norm_topk_prob, config["moe_layer_freq"] = 1;
}

}  // namespace cohort::model
