// Qwen3-MoE: the attention of Qwen3 and experts behind a softmax router, without shared ones.
#include <nlohmann/json.hpp>

#include "core/model/families/family.h"
#include "core/model/families/parts.h"

namespace cohort::model {
namespace {

void read(ConfigKeys& keys, Architecture& a) {
  read_grouped_query(keys, a);
  a.qk_norm = true;
  keys.flag("attention_bias", a.attention_bias, ConfigKeys::Need::kOptional);
  a.attention_output_bias = a.attention_bias;
  refuse_sliding_window(keys, a, true);
  // transformers 5 writes num_local_experts where published files have num_experts.
  const bool renamed = keys.has("num_local_experts");
  if (renamed && keys.has("num_experts") && keys.at("num_experts") != keys.at("num_local_experts"))
    keys.bad("num_experts", "the value of num_local_experts", keys.at("num_experts"));
  keys.integer(renamed ? "num_local_experts" : "num_experts", a.n_routed_experts);
  keys.integer("num_experts_per_tok", a.num_experts_per_tok);
  keys.integer("moe_intermediate_size", a.moe_intermediate_size);
  keys.flag("norm_topk_prob", a.norm_topk_prob);
  keys.integers("mlp_only_layers", a.mlp_only_layers);
  keys.only("decoder_sparse_step", 1);
  keys.ignore({"output_router_logits", "router_aux_loss_coef"});
  a.softmax_router = true;
}

void write(const Architecture& a, nlohmann::json& config) {
  write_grouped_query(a, config);
  config["use_sliding_window"] = false;
  if (a.attention_bias) config["attention_bias"] = true;
  if (a.n_routed_experts == 0) return;
  config["num_experts"] = a.n_routed_experts, config["num_experts_per_tok"] = a.num_experts_per_tok;
  config["moe_intermediate_size"] = a.moe_intermediate_size, config["norm_topk_prob"] = a.norm_topk_prob;
  config["mlp_only_layers"] = a.mlp_only_layers, config["decoder_sparse_step"] = 1;
}

}  // namespace

const Family kQwen3Moe = {"qwen3_moe", "Qwen3Moe", read, write};

}  // namespace cohort::model
