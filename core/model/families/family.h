#pragma once
/// Model families: how the config.json of each names the parts of the decoder. One file per family; the table is in family.cpp.
///
/// All families here use the same tensor names ("model.layers.3.self_attn.q_proj.weight"), which the layers declare themselves.

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/model/architecture.h"
#include "core/model/families/config_keys.h"

namespace cohort::model {

struct Family {
  const char* model_type;    ///< key model_type: "qwen2"
  const char* class_prefix;  ///< of the names under `architectures`: "Qwen2" of Qwen2ForCausalLM
  /// Reads the keys of the family, beside those that all have (family.cpp).
  void (*read)(ConfigKeys& keys, Architecture& a);
  /// Writes them, so that reading gives the same again.
  void (*write)(const Architecture& a, nlohmann::json& config);
};

const std::vector<Family>& families();
/// Null for another model_type.
const Family* find_family(const std::string& model_type);

/// The keys of config.json → architecture, and back. `where` begins the messages. InputError naming everything that is wrong.
Architecture read_family_config(const nlohmann::json& config, const std::string& where);
nlohmann::json write_family_config(const Architecture& a);

// The families, each in the file of its name.
extern const Family kLlama, kQwen2, kQwen3, kQwen3Moe, kDeepseekV2, kDeepseekV3;

}  // namespace cohort::model
