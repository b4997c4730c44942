// Qwen3, dense: grouped-query attention with norms on the heads of q and k, head_dim of its own, SwiGLU.
#include <nlohmann/json.hpp>

#include "core/model/families/family.h"
#include "core/model/families/parts.h"

namespace cohort::model {
namespace {

constexpr int64_t kDefaultHeadDim = 128;  // where config.json has none

void read(ConfigKeys& keys, Architecture& a) {
  read_grouped_query(keys, a);
  if (!keys.has("head_dim")) a.head_dim = kDefaultHeadDim;
  a.qk_norm = true;
  keys.flag("attention_bias", a.attention_bias, ConfigKeys::Need::kOptional);
  a.attention_output_bias = a.attention_bias;
  refuse_sliding_window(keys, a, false);
}

void write(const Architecture& a, nlohmann::json& config) {
  write_grouped_query(a, config);
  config["attention_bias"] = a.attention_bias, config["use_sliding_window"] = false;
}

}  // namespace

const Family kQwen3 = {"qwen3", "Qwen3", read, write};

}  // namespace cohort::model
