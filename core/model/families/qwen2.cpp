// Qwen2 and Qwen2.5: grouped-query attention with biases on q, k and v, SwiGLU.
#include <nlohmann/json.hpp>

#include "core/model/families/family.h"
#include "core/model/families/parts.h"

namespace cohort::model {
namespace {

void read(ConfigKeys& keys, Architecture& a) {
  read_grouped_query(keys, a);
  a.attention_bias = true;
  keys.only("attention_bias", true);
  keys.only("use_mrope", false);
  refuse_sliding_window(keys, a, false);
}

void write(const Architecture& a, nlohmann::json& config) {
  write_grouped_query(a, config);
  config["use_sliding_window"] = false;
}

}  // namespace

const Family kQwen2 = {"qwen2", "Qwen2", read, write};

}  // namespace cohort::model
