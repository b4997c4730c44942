#pragma once
/// The attention half of a block: grouped-query, or multi-head latent attention.
///
/// Shapes: N rows (tokens of all sequences), D hidden, H query heads, K key/value heads, d head width; R latent (kv_lora_rank),
/// r rotary width, n width without position (nope), v value width.

#include <memory>
#include <string>

#include "core/model/architecture.h"
#include "core/model/expert_exchange.h"
#include "core/model/functions.h"
#include "core/model/kv_cache.h"
#include "core/model/rope_table.h"
#include "core/model/token_batch.h"

namespace cohort::model {

/// What every layer needs to know about a forward pass.
struct ForwardContext {
  at::Tensor positions_N;
  const std::vector<int64_t>* offsets = nullptr;
  CacheRows* rows = nullptr;  ///< null in training
  ComputeType type = ComputeType::kFloat32;
  /// Of a block that is run again in the backward pass: where its mixture layer notes the chosen experts [N, K], and reads them the second
  /// time. Null elsewhere.
  at::Tensor* routing = nullptr;
  ExpertExchange* exchange = nullptr;  ///< through it mixture layers reach experts of other processes; null: they run all themselves
};

class Attention {
 public:
  virtual ~Attention() = default;
  /// x [N, D], normalised → [N, D].
  virtual at::Tensor forward(const at::Tensor& x_ND, const ForwardContext& context, int64_t layer) const = 0;
};

/// `prefix` is "model.layers.3.self_attn.". Declares its parameters in `set`; that and `a` must outlive it.
std::unique_ptr<Attention> make_attention(const Architecture& a, const std::string& prefix, ParameterSet& set, const RopeTable& rope);

/// MLA computed the long way, by expanding keys and values per head as in training code elsewhere. The specification of the absorbed form
/// that make_attention gives; only tests call it (absorbed = expanded to 1e-5).
at::Tensor expanded_mla(const Attention& mla, const at::Tensor& x_ND, const ForwardContext& context);

}  // namespace cohort::model
