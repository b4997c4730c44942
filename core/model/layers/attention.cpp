#include "core/model/layers/attention.h"

#include <ATen/ATen.h>

#include <optional>

#include "core/base/error.h"

namespace cohort::model {
namespace {

/// Softmax attention over whole sequences, or one row each against the cache.
at::Tensor attend_or_decode(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const ForwardContext& c, int64_t layer,
                            double scale) {
  if (!c.rows) return attend(q, k, v, *c.offsets, scale);
  kernels::LayerCache& cache = c.rows->cache->layer(layer);
  kernels::append_to_cache(cache, k, v, c.rows->slots, c.rows->positions);
  return c.rows->decode ? kernels::attention_decode(q, cache, c.rows->slots, c.rows->positions, scale) : attend(q, k, v, *c.offsets, scale);
}

class GroupedQueryAttention final : public Attention {
 public:
  GroupedQueryAttention(const Architecture& a, const std::string& prefix, ParameterSet& set, const RopeTable& rope)
      : a_(a), set_(set), rope_(rope), scale_(attention_scale(a)) {
    const auto projection = [&](const char* name, int64_t in, int64_t out, bool biased) {
      Projection p{set.declare(prefix + name + ".weight", {out, in}, Init::kNormal), {}};
      if (biased) p.bias = set.declare(prefix + name + ".bias", {out}, Init::kZeros);
      return p;
    };
    const int64_t q = a.num_attention_heads * a.head_dim, kv = a.num_key_value_heads * a.head_dim;
    q_ = projection("q_proj", a.hidden_size, q, a.attention_bias);
    k_ = projection("k_proj", a.hidden_size, kv, a.attention_bias);
    v_ = projection("v_proj", a.hidden_size, kv, a.attention_bias);
    o_ = projection("o_proj", q, a.hidden_size, a.attention_output_bias);
    if (a.qk_norm) {
      q_norm_ = set.declare(prefix + "q_norm.weight", {a.head_dim}, Init::kOnes);
      k_norm_ = set.declare(prefix + "k_norm.weight", {a.head_dim}, Init::kOnes);
    }
  }

  at::Tensor forward(const at::Tensor& x, const ForwardContext& c, int64_t layer) const override {
    const at::Tensor q = rotated(project(x, q_, c), a_.num_attention_heads, q_norm_, c);
    const at::Tensor k = rotated(project(x, k_, c), a_.num_key_value_heads, k_norm_, c);
    const at::Tensor v = project(x, v_, c).view({-1, a_.num_key_value_heads, a_.head_dim});
    return project(attend_or_decode(q, k, v, c, layer, scale_).flatten(1), o_, c);
  }

 private:
  struct Projection {
    size_t weight;
    std::optional<size_t> bias;
  };

  at::Tensor project(const at::Tensor& x, const Projection& p, const ForwardContext& c) const {
    return linear(x, set_.at(p.weight), p.bias ? &set_.at(*p.bias) : nullptr, c.type);
  }

  at::Tensor rotated(const at::Tensor& x, int64_t heads, size_t norm, const ForwardContext& c) const {
    const at::Tensor normed = a_.qk_norm ? rms_norm(x.reshape({-1, a_.head_dim}), set_.at(norm), a_.rms_norm_eps) : x;
    return rotate(normed.view({-1, heads, a_.head_dim}), c.positions_N, rope_.cosine, rope_.sine, kernels::RopeLayout::kHalves);
  }

  const Architecture& a_;  // no copy: it holds a config.json of up to 1 MB, and there may be thousands of layers
  ParameterSet& set_;
  RopeTable rope_;
  double scale_;
  Projection q_, k_, v_, o_;
  size_t q_norm_ = 0, k_norm_ = 0;
};

/// MLA in the absorbed form, in training as in decoding: with W_kvb split per head into W_K [n, R] and W_V [v, R],
/// score = (W_Kᵀ q_nope)·c + q_rope·k_rope and output = W_V (Σ p c). One key/value head of width R + r serves all query heads, and the
/// log-probability of a sampled token is the trainer's, to the bit. (The inner norms use eps 1e-6 whatever rms_norm_eps is, as published.)
class LatentAttention final : public Attention {
 public:
  LatentAttention(const Architecture& a, const std::string& prefix, ParameterSet& set, const RopeTable& rope)
      : a_(a), set_(set), rope_(rope), scale_(attention_scale(a)), qk_(a.qk_nope_head_dim + a.qk_rope_head_dim) {
    const int64_t h = a.num_attention_heads;
    if (a.q_lora_rank > 0) {
      q_a_ = set.declare(prefix + "q_a_proj.weight", {a.q_lora_rank, a.hidden_size}, Init::kNormal);
      q_a_norm_ = set.declare(prefix + "q_a_layernorm.weight", {a.q_lora_rank}, Init::kOnes);
      q_ = set.declare(prefix + "q_b_proj.weight", {h * qk_, a.q_lora_rank}, Init::kNormal);
    } else {
      q_ = set.declare(prefix + "q_proj.weight", {h * qk_, a.hidden_size}, Init::kNormal);
    }
    kv_a_ = set.declare(prefix + "kv_a_proj_with_mqa.weight", {a.kv_lora_rank + a.qk_rope_head_dim, a.hidden_size}, Init::kNormal);
    kv_a_norm_ = set.declare(prefix + "kv_a_layernorm.weight", {a.kv_lora_rank}, Init::kOnes);
    kv_b_ = set.declare(prefix + "kv_b_proj.weight", {h * (a.qk_nope_head_dim + a.v_head_dim), a.kv_lora_rank}, Init::kNormal);
    o_ = set.declare(prefix + "o_proj.weight", {a.hidden_size, h * a.v_head_dim}, Init::kNormal);
  }

  at::Tensor forward(const at::Tensor& x, const ForwardContext& c, int64_t layer) const override {
    const Parts p = parts(x, c);
    const at::Tensor absorbed_q =
        linear_per_head(p.q_nope, set_.at(kv_b_), a_.num_attention_heads, 0, a_.qk_nope_head_dim, true, c.type);  // [N, H, R]
    const at::Tensor q = at::cat({absorbed_q, p.q_rope}, 2), k = at::cat({p.latent, p.k_rope}, 2);
    const at::Tensor mixed = attend_or_decode(q, k, p.latent, c, layer, scale_);  // [N, H, R]
    const at::Tensor out =
        linear_per_head(mixed, set_.at(kv_b_), a_.num_attention_heads, a_.qk_nope_head_dim, a_.v_head_dim, false, c.type);
    return linear(out.flatten(1), set_.at(o_), nullptr, c.type);
  }

  at::Tensor expanded(const at::Tensor& x, const ForwardContext& c) const {
    const Parts p = parts(x, c);
    const int64_t h = a_.num_attention_heads;
    const at::Tensor kv = linear(p.latent.reshape({x.size(0), a_.kv_lora_rank}), set_.at(kv_b_), nullptr, c.type).view({x.size(0), h, -1});
    const at::Tensor k = at::cat({kv.narrow(2, 0, a_.qk_nope_head_dim), p.k_rope.expand({-1, h, -1})}, 2);
    const at::Tensor v = kv.narrow(2, a_.qk_nope_head_dim, a_.v_head_dim).contiguous();
    const at::Tensor out = attend(at::cat({p.q_nope, p.q_rope}, 2), k, v, *c.offsets, scale_);
    return linear(out.flatten(1), set_.at(o_), nullptr, c.type);
  }

 private:
  struct Parts {
    at::Tensor q_nope, q_rope;  ///< [N, H, n], [N, H, r]
    at::Tensor latent, k_rope;  ///< [N, 1, R], [N, 1, r]
  };

  Parts parts(const at::Tensor& x, const ForwardContext& c) const {
    const at::Tensor compressed =
        a_.q_lora_rank > 0 ? rms_norm(linear(x, set_.at(q_a_), nullptr, c.type), set_.at(q_a_norm_), kInnerEps) : x;
    const at::Tensor q = linear(compressed, set_.at(q_), nullptr, c.type).view({x.size(0), a_.num_attention_heads, qk_});
    const at::Tensor kv = linear(x, set_.at(kv_a_), nullptr, c.type);
    const at::Tensor latent = rms_norm(kv.narrow(1, 0, a_.kv_lora_rank), set_.at(kv_a_norm_), kInnerEps);
    const at::Tensor k_rope = kv.narrow(1, a_.kv_lora_rank, a_.qk_rope_head_dim).unsqueeze(1);
    return {q.narrow(2, 0, a_.qk_nope_head_dim), turned(q.narrow(2, a_.qk_nope_head_dim, a_.qk_rope_head_dim), c), latent.unsqueeze(1),
            turned(k_rope, c)};
  }

  at::Tensor turned(const at::Tensor& x, const ForwardContext& c) const {
    return rotate(x, c.positions_N, rope_.cosine, rope_.sine, kernels::RopeLayout::kPairs);
  }

  static constexpr double kInnerEps = 1e-6;
  const Architecture& a_;  // no copy: it holds a config.json of up to 1 MB, and there may be thousands of layers
  ParameterSet& set_;
  RopeTable rope_;
  double scale_;
  int64_t qk_;
  size_t q_a_ = 0, q_a_norm_ = 0, q_, kv_a_, kv_a_norm_, kv_b_, o_;
};

}  // namespace

std::unique_ptr<Attention> make_attention(const Architecture& a, const std::string& prefix, ParameterSet& set, const RopeTable& rope) {
  if (a.uses_mla()) return std::make_unique<LatentAttention>(a, prefix, set, rope);
  return std::make_unique<GroupedQueryAttention>(a, prefix, set, rope);
}

at::Tensor expanded_mla(const Attention& mla, const at::Tensor& x, const ForwardContext& context) {
  const auto* latent = dynamic_cast<const LatentAttention*>(&mla);
  if (!latent) throw Fault("expanded_mla: not latent attention");
  return latent->expanded(x, context);
}

}  // namespace cohort::model
