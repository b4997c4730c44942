#pragma once
/// Keys that several families share, by the part of the decoder that they describe.

#include <nlohmann/json_fwd.hpp>

#include "core/model/architecture.h"
#include "core/model/families/config_keys.h"

namespace cohort::model {

/// rope_theta and rope_scaling of published files, or rope_parameters, which transformers 5 writes for both.
void read_rope(ConfigKeys& keys, Architecture& a);
void write_rope(const Architecture& a, nlohmann::json& config);

/// num_key_value_heads and head_dim, which is hidden_size / num_attention_heads where the file has none.
void read_grouped_query(ConfigKeys& keys, Architecture& a);
void write_grouped_query(const Architecture& a, nlohmann::json& config);

/// A sliding window that would cut attention within the model's positions is refused; what says that there is none is accepted.
/// `all_layers`: the family has the window in all layers, otherwise in those from max_window_layers on.
void refuse_sliding_window(ConfigKeys& keys, const Architecture& a, bool all_layers);

/// Multi-head latent attention of DeepSeek-V2 and V3.
void read_latent_attention(ConfigKeys& keys, Architecture& a);
void write_latent_attention(const Architecture& a, nlohmann::json& config);

/// Routed and shared experts of DeepSeek-V2 and V3, without what they differ in: groups, normalisation and scoring.
void read_deepseek_experts(ConfigKeys& keys, Architecture& a);
void write_deepseek_experts(const Architecture& a, nlohmann::json& config);

}  // namespace cohort::model
