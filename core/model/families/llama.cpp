// Llama 3.x and what is built like it (SmolLM2): grouped-query attention, SwiGLU; biases in all projections of a half where asked for.
#include <nlohmann/json.hpp>

#include "core/model/families/family.h"
#include "core/model/families/parts.h"

namespace cohort::model {
namespace {

void read(ConfigKeys& keys, Architecture& a) {
  read_grouped_query(keys, a);
  keys.flag("attention_bias", a.attention_bias, ConfigKeys::Need::kOptional);
  a.attention_output_bias = a.attention_bias;
  keys.flag("mlp_bias", a.mlp_bias, ConfigKeys::Need::kOptional);
  keys.only("rope_interleaved", false);
  keys.ignore({"pretraining_tp", "is_llama_config"});
}

void write(const Architecture& a, nlohmann::json& config) {
  write_grouped_query(a, config);
  config["attention_bias"] = a.attention_bias, config["mlp_bias"] = a.mlp_bias;
}

}  // namespace

const Family kLlama = {"llama", "Llama", read, write};

}  // namespace cohort::model
