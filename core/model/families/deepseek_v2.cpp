// DeepSeek-V2 and V2-Lite: latent attention, experts behind a softmax router without selection bias, weights not normalised.
#include <nlohmann/json.hpp>

#include "core/model/families/family.h"
#include "core/model/families/parts.h"

namespace cohort::model {
namespace {

void read(ConfigKeys& keys, Architecture& a) {
  read_latent_attention(keys, a);
  read_deepseek_experts(keys, a);
  // With true, published code leaves the scaling factor out and transformers does not normalise: they contradict each other.
  keys.only("norm_topk_prob", false);
  a.norm_topk_prob = false;
  a.softmax_router = true;
  keys.only("scoring_func", "softmax");
  keys.ignore({"pretraining_tp"});
  const bool limited = keys.has("topk_method") && keys.at("topk_method") == "group_limited_greedy";
  if (keys.has("topk_method") && !limited && keys.at("topk_method") != "greedy")
    keys.bad("topk_method", "\"greedy\" or \"group_limited_greedy\"", keys.at("topk_method"));
  int64_t groups = 1, kept = 1;  // greedy selection takes no notice of them
  const auto need = limited ? ConfigKeys::Need::kRequired : ConfigKeys::Need::kOptional;
  keys.integer("n_group", groups, need), keys.integer("topk_group", kept, need);
  if (limited) a.n_group = groups, a.topk_group = kept;
}

void write(const Architecture& a, nlohmann::json& config) {
  write_latent_attention(a, config);
  if (a.n_routed_experts == 0) return;
  write_deepseek_experts(a, config);
  config["n_group"] = a.n_group, config["topk_group"] = a.topk_group;
  config["scoring_func"] = "softmax", config["topk_method"] = a.n_group > 1 ? "group_limited_greedy" : "greedy";
}

}  // namespace

const Family kDeepseekV2 = {"deepseek_v2", "DeepseekV2", read, write};

}  // namespace cohort::model
