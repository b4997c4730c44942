#pragma once
/// The shape of a decoder: which parts it is assembled from and their sizes. Names are the keys of the published config.json files.
///
///   deepseek_v3   MLA attention, leading dense layers, then mixture of experts (DeepSeek-V3 report, arXiv 2412.19437)
///   qwen2         grouped-query attention with q/k/v biases, SwiGLU (Qwen2)
///   qwen3_moe     grouped-query attention with q/k norms, softmax-routed experts (Qwen3)

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
  bool attention_bias = false;  ///< on q, k and v
  bool qk_norm = false;         ///< RMSNorm over each head of q and k

  // Multi-head latent attention (deepseek_v3)
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

  bool uses_mla() const { return kv_lora_rank > 0; }
  bool is_moe_layer(int64_t layer) const;

  int64_t parameters() const;            ///< all of them; a tied head is counted once
  int64_t activated_parameters() const;  ///< used by one token
  /// Floats cached per token: 576-style latent for MLA, keys and values otherwise.
  int64_t cache_floats_per_token() const;

  /// InputError "where: key: expected …, found …" listing every contradiction.
  void check(const std::string& where) const;
};

/// Presets of this project, without vocabulary: deepseek_v3_tiny, dense_tiny, calibration_a, calibration_b, deepseek_v3.
/// InputError for another name.
Architecture architecture_preset(const std::string& name);
const std::vector<std::string>& architecture_preset_names();

/// config.json of a Hugging Face folder. InputError for families and active features that are not supported.
Architecture architecture_from_json(const nlohmann::json& config, const std::string& where);
nlohmann::json architecture_to_json(const Architecture& a);

}  // namespace cohort::model
