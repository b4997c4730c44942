#include "launcher/memory_plan.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "core/model/kv_cache.h"

namespace cohort::launcher {
namespace {

constexpr int64_t kFloat = 4;  // bytes

int64_t kept_by_attention(const model::Architecture& a) {
  const int64_t heads = a.num_attention_heads;
  if (!a.uses_mla()) return (2 * heads + 2 * a.num_key_value_heads) * a.head_dim;
  const int64_t latent = a.kv_lora_rank, rotary = a.qk_rope_head_dim;
  return 2 * a.q_lora_rank + heads * (a.qk_nope_head_dim + rotary) + heads * (latent + rotary) + 3 * latent + rotary + heads * latent +
         heads * a.v_head_dim;
}

int64_t kept_by_feed_forward(const model::Architecture& a, int64_t layer) {
  if (!a.is_moe_layer(layer)) return 3 * a.intermediate_size;
  return a.num_experts_per_tok * (2 * a.hidden_size + 3 * a.moe_intermediate_size) + 3 * a.moe_intermediate_size * a.n_shared_experts +
         a.n_routed_experts;
}

int64_t kept_by_layer(const model::Architecture& a, int64_t layer) {
  return 4 * a.hidden_size + kept_by_attention(a) + kept_by_feed_forward(a, layer);
}

/// Inputs of products that share one, and results: what rounding makes a second copy of.
int64_t rounded_by_layer(const model::Architecture& a, int64_t layer) {
  const int64_t d = a.hidden_size, h = a.num_attention_heads;
  const int64_t attention =
      a.uses_mla() ? 2 * d + a.q_lora_rank + h * (a.qk_nope_head_dim + a.kv_lora_rank + a.v_head_dim) : 3 * d + h * a.head_dim;
  if (!a.is_moe_layer(layer)) return attention + 2 * d + a.intermediate_size;
  return attention + a.num_experts_per_tok * (d + a.moe_intermediate_size) + a.n_shared_experts * (2 * d + a.moe_intermediate_size);
}

int64_t head_bytes(const model::Architecture& a, int64_t tokens, int64_t trained) {
  return (tokens * a.hidden_size + trained * 2 * a.vocab_size) * kFloat;  // under the final norm; probabilities and logits
}

}  // namespace

int64_t kv_cache_bytes(const model::Architecture& a, int64_t sequences, int64_t tokens) {
  return sequences * model::KvCache::bytes_per_slot(a, tokens);
}

int64_t activation_bytes(const model::Architecture& a, int64_t tokens, int64_t trained) {
  int64_t per_token = 0;
  for (int64_t layer = 0; layer < a.num_hidden_layers; ++layer) per_token += kept_by_layer(a, layer);
  return tokens * per_token * kFloat + head_bytes(a, tokens, trained);
}

int64_t recomputed_activation_bytes(const model::Architecture& a, int64_t tokens, int64_t trained) {
  int64_t routes = 0;
  for (int64_t layer = 0; layer < a.num_hidden_layers; ++layer)
    routes += a.is_moe_layer(layer) ? 2 * a.num_experts_per_tok : 0;  // the first pass's choice of experts, 8 bytes each
  return tokens * (a.num_hidden_layers * a.hidden_size + routes) * kFloat + layer_activation_bytes(a, tokens) +
         head_bytes(a, tokens, trained);
}

int64_t layer_activation_bytes(const model::Architecture& a, int64_t tokens) {
  int64_t largest = 0;
  for (int64_t layer = 0; layer < a.num_hidden_layers; ++layer) largest = std::max(largest, kept_by_layer(a, layer));
  return tokens * largest * kFloat;
}

int64_t rounded_copies_bytes(const model::Architecture& a, int64_t tokens) {
  int64_t per_token = 0;
  for (int64_t layer = 0; layer < a.num_hidden_layers; ++layer) per_token += rounded_by_layer(a, layer);
  return tokens * per_token * kFloat;
}

int64_t rounded_weights_bytes(const model::Architecture& a) {
  const int64_t kv_b = a.uses_mla() ? a.num_attention_heads * (a.qk_nope_head_dim + a.v_head_dim) * a.kv_lora_rank : 0;
  int64_t copied = 0;
  for (int64_t layer = 0; layer < a.num_hidden_layers; ++layer) {
    copied += 2 * kv_b;
    if (a.is_moe_layer(layer)) copied += a.n_routed_experts * 3 * a.hidden_size * a.moe_intermediate_size;
  }
  return copied * kFloat;
}

int64_t backward_bytes(const model::Architecture& a, int64_t tokens, int64_t trained) {
  const bool experts = a.is_moe_layer(a.num_hidden_layers - 1);
  const int64_t intermediate = experts ? a.n_shared_experts * a.moe_intermediate_size : a.intermediate_size;
  return std::max(trained * a.vocab_size, tokens * (3 * intermediate + 2 * a.hidden_size)) * kFloat;
}

int64_t gradient_bytes(int64_t parameters, int64_t slots) {
  int64_t buffers = slots > 1 ? 2 : 1;  // the gradient and its copy in the tree
  for (int64_t held = 1; held < slots; held *= 2) ++buffers;
  return buffers * parameters * kFloat;
}

int64_t gathered_bytes(const model::Architecture& a, int64_t expert_parallel) {
  model::Architecture part = a;
  part.num_hidden_layers = 0;
  const int64_t outside = part.parameters();
  int64_t before = outside, largest = 0;
  for (int64_t layer = 0; layer < a.num_hidden_layers; ++layer) {
    part.num_hidden_layers = layer + 1;
    const int64_t experts = a.is_moe_layer(layer) ? a.n_routed_experts * 3 * a.hidden_size * a.moe_intermediate_size : 0;
    largest = std::max(largest, part.parameters() - before - experts + experts / expert_parallel);
    before = part.parameters();
  }
  return (outside + largest) * kFloat;
}

MemoryPlan MemoryPlan::without(const std::vector<std::string>& names) const {
  MemoryPlan rest;
  for (const auto& [name, bytes] : parts)
    if (std::find(names.begin(), names.end(), name) == names.end()) rest.add(name, bytes);
  return rest;
}

int64_t MemoryPlan::total() const {
  int64_t sum = 0;
  for (const auto& [name, bytes] : parts) sum += bytes;
  return sum;
}

std::string readable_bytes(int64_t bytes) {
  constexpr std::array<const char*, 6> kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024.0 && unit + 1 < kUnits.size()) value /= 1024.0, ++unit;
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

}  // namespace cohort::launcher
