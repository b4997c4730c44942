#pragma once
/// The shape of a decoder: which parts it is assembled from and their sizes. Names are the keys of the published config.json files.
///
///   deepseek_v2   MLA attention, leading dense layers, then softmax-routed experts (DeepSeek-V2, V2-Lite; arXiv 2405.04434)
///   deepseek_v3   MLA attention, leading dense layers, then sigmoid-routed experts (DeepSeek-V3, R1; arXiv 2412.19437)
///   llama         grouped-query attention, SwiGLU (Llama 3.x, SmolLM2)
///   qwen2         grouped-query attention with q/k/v biases, SwiGLU (Qwen2, Qwen2.5, R1's Qwen distils)
///   qwen3         grouped-query attention with q/k norms, SwiGLU (Qwen3)
///   qwen3_moe     grouped-query attention with q/k norms, softmax-routed experts (Qwen3)
///
/// families/ says which keys of config.json each family has.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace cohort::model {

struct RopeScaling {
  std::string type;  ///< "", "yarn" or "llama3"
  double factor = 1.0;
  double original_max_position_embeddings = 4096.0;
  double beta_fast = 32.0, beta_slow = 1.0, mscale = 1.0, mscale_all_dim = 0.0;  // yarn
  double attention_factor = 0.0;                                                 // yarn: on cos and sin; 0: from factor and mscale
  double low_freq_factor = 1.0, high_freq_factor = 4.0;                          // llama3
};

struct Architecture {
  std::string model_type = "qwen2";
  int64_t vocab_size = 0;
  int64_t hidden_size = 64;
  int64_t num_hidden_layers = 2;
  int64_t num_attention_heads = 4;
  int64_t intermediate_size = 128;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000.0;
  RopeScaling rope_scaling;
  int64_t max_position_embeddings = 512;
  bool tie_word_embeddings = false;
  double initializer_range = 0.02;

  // Grouped-query attention
  int64_t num_key_value_heads = 4;
  int64_t head_dim = 16;
  bool attention_bias = false;         ///< on q, k and v
  bool attention_output_bias = false;  ///< on o
  bool mlp_bias = false;               ///< on gate, up and down of dense layers
  bool qk_norm = false;                ///< RMSNorm over each head of q and k

  // Multi-head latent attention (deepseek_v2, deepseek_v3)
  int64_t q_lora_rank = 0;  ///< 0: one full projection (null in config.json)
  int64_t kv_lora_rank = 0;
  int64_t qk_nope_head_dim = 0;
  int64_t qk_rope_head_dim = 0;
  int64_t v_head_dim = 0;

  // Mixture of experts; n_routed_experts 0 means every layer is dense
  int64_t n_routed_experts = 0;
  int64_t n_shared_experts = 0;
  int64_t num_experts_per_tok = 0;
  int64_t moe_intermediate_size = 0;
  int64_t n_group = 1;
  int64_t topk_group = 1;
  int64_t first_k_dense_replace = 0;
  std::vector<int64_t> mlp_only_layers;  ///< further dense layers (qwen3_moe)
  double routed_scaling_factor = 1.0;
  bool norm_topk_prob = true;
  bool softmax_router = false;

  bool sequence_classification = false;  ///< a scalar head, as reward models have, and no language-model head
  /// Layers for multi-token prediction that a published checkpoint holds after its own. They are neither read nor written.
  int64_t num_nextn_predict_layers = 0;
  /// The config.json that this was read from, as JSON; empty for presets. What is written keeps its keys.
  std::string published_config;

  bool uses_mla() const { return kv_lora_rank > 0; }
  bool is_moe_layer(int64_t layer) const;
  int64_t rotary_dim() const { return uses_mla() ? qk_rope_head_dim : head_dim; }

  int64_t parameters() const;            ///< all of them; a tied head is counted once. Of sizes that check() lets through
  int64_t activated_parameters() const;  ///< used by one token
  /// Floats cached per token: 576-style latent for MLA, keys and values otherwise.
  int64_t cache_floats_per_token() const;

  /// InputError "where: key: expected …, found …" listing every contradiction, or that there are more than 2^48 parameters.
  void check(const std::string& where) const;
};

/// Presets of this project, without vocabulary: deepseek_v3_tiny, dense_tiny, calibration_a, calibration_b, deepseek_v3.
/// InputError for another name.
Architecture architecture_preset(const std::string& name);
const std::vector<std::string>& architecture_preset_names();

/// config.json of a Hugging Face folder. InputError naming every key that is missing, contradicts another, asks for something that is not
/// supported, or is not known to the family.
Architecture architecture_from_json(const nlohmann::json& config, const std::string& where);
/// For weights written in fp32 (set_dtype for others). What was read from a config.json keeps its keys and their spelling, except for what
/// no longer holds: quantization, layers for multi-token prediction, the head, and code (auto_map). Reads back as the same architecture.
nlohmann::json architecture_to_json(const Architecture& a);
/// The type of the weights beside a config.json: "float32", "bfloat16".
void set_dtype(nlohmann::json& config, const std::string& dtype);
/// Whether they describe the same decoder: all fields but published_config, num_nextn_predict_layers and the kind of head.
bool same_decoder(const Architecture& a, const Architecture& b);
/// Tensors of layers for multi-token prediction.
bool is_prediction_tensor(const Architecture& a, const std::string& name);
/// Tensors that published checkpoints of this architecture hold and that are not read: layers for multi-token prediction, rotary tables.
bool is_unread_tensor(const Architecture& a, const std::string& name);

}  // namespace cohort::model
