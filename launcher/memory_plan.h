#pragma once
/// Bytes that one rank needs, from shapes alone. Weights, gradients, moments and the cache are exact up to small change; activations are
/// what a forward pass leaves for the backward pass, within 5 % on the presets; the backward pass's own work comes on top. The sum is
/// compared with the peak of real runs by scripts/memory_check.py.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/model/architecture.h"

namespace cohort::launcher {

/// Keys and values of `sequences` sequences of up to `tokens` tokens. Grouped-query attention keeps keys and values; MLA its latent and the
/// rotary key as keys, and the latent once more as values (core/model/kv_cache.h).
int64_t kv_cache_bytes(const model::Architecture& a, int64_t sequences, int64_t tokens);

/// What is kept between forward and backward for `tokens` tokens, `trained` of which are predicted, in fp32. Per token and layer, with D
/// hidden, H heads, K = num_experts_per_tok, I and F the intermediate sizes:
///   both norms' inputs and outputs      4 D
///   grouped-query attention             (H + 2 H_kv) d + H d
///   MLA                                 2 R_q + H (n + r) + H (R + r) + 3 R + r + H R + H v       (absorbed form)
///   dense feed-forward                  3 F
///   experts                             K (2 D + 3 I) + 3 I · shared + E
/// and per predicted token the probabilities and logits, 2 V.
int64_t activation_bytes(const model::Architecture& a, int64_t tokens, int64_t trained);

/// The same with trainer.recompute: layer. Each layer keeps its input, D, and the numbers of its experts, 2 K; the sum
/// above counts once, for the widest layer, because one at a time is run again.
int64_t recomputed_activation_bytes(const model::Architecture& a, int64_t tokens, int64_t trained);

/// What the backward pass of the largest layer needs.
int64_t layer_activation_bytes(const model::Architecture& a, int64_t tokens);

/// What the CPU's bf16 keeps on top of activation_bytes: each product keeps its own rounded copy of its input and of its result, in fp32.
int64_t rounded_copies_bytes(const model::Architecture& a, int64_t tokens);

/// Weights of which bf16 keeps rounded copies for the backward pass, in fp32: routed experts, and kv_b_proj of MLA, one copy for each of
/// its halves. Other products round while they read.
int64_t rounded_weights_bytes(const model::Architecture& a);

/// Gradients of values, at the moment when nothing of the forward pass is freed yet: the largest of the head's, V per predicted token, and
/// of the last layer's feed-forward, 3 F + 2 D (experts run one after the other, so only a shared one counts: 3 I · shared + 2 D).
int64_t backward_bytes(const model::Architecture& a, int64_t tokens, int64_t trained);

/// Gradients: the buffer that backward passes add to, and where one rank has several of the batch's parts, `slots`, the partial sums of the
/// tree over them (core/train/gradient_tree.h).
int64_t gradient_bytes(int64_t parameters, int64_t slots);

/// What a rank gathers beyond its slice of the weights, in fp32, while it trains with trainer.parameter_sharding: full
/// (CausalLM::use_layers): what is outside of the layers, and the largest layer, of whose routed experts it runs 1 / expert_parallel.
int64_t gathered_bytes(const model::Architecture& a, int64_t expert_parallel);

/// Memory of one rank by what it is for, in a fixed order; entries that do not apply are absent.
struct MemoryPlan {
  std::vector<std::pair<std::string, int64_t>> parts;
  void add(const std::string& name, int64_t bytes) { parts.emplace_back(name, bytes); }
  int64_t total() const;
  MemoryPlan without(const std::vector<std::string>& names) const;
};

/// "3.2 MiB".
std::string readable_bytes(int64_t bytes);

}  // namespace cohort::launcher
