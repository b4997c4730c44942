// DeepSeek-V3 and R1: latent attention, experts behind a sigmoid router with groups and a selection bias.
#include <nlohmann/json.hpp>

#include "core/model/families/family.h"
#include "core/model/families/parts.h"

namespace cohort::model {
namespace {

void read(ConfigKeys& keys, Architecture& a) {
  read_latent_attention(keys, a);
  read_deepseek_experts(keys, a);
  keys.flag("norm_topk_prob", a.norm_topk_prob);
  keys.integer("n_group", a.n_group), keys.integer("topk_group", a.topk_group);
  keys.only("rope_interleave", true), keys.only("scoring_func", "sigmoid"), keys.only("topk_method", "noaux_tc");
  keys.integer("num_nextn_predict_layers", a.num_nextn_predict_layers, ConfigKeys::Need::kOptional);
  keys.ignore({"num_mtp_layers", "pretraining_tp"});
}

void write(const Architecture& a, nlohmann::json& config) {
  write_latent_attention(a, config);
  config["rope_interleave"] = true;
  if (a.n_routed_experts == 0) return;
  write_deepseek_experts(a, config);
  config["n_group"] = a.n_group, config["topk_group"] = a.topk_group;
  config["scoring_func"] = "sigmoid", config["topk_method"] = "noaux_tc";
}

}  // namespace

const Family kDeepseekV3 = {"deepseek_v3", "DeepseekV3", read, write};

}  // namespace cohort::model
