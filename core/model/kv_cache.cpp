#include "core/model/kv_cache.h"

namespace cohort::model {

KvCache::KvCache(const Architecture& a, int64_t slots, int64_t capacity) {
  for (int64_t i = 0; i < a.num_hidden_layers; ++i)
    layers_.push_back(a.uses_mla() ? kernels::make_layer_cache(slots, 1, a.kv_lora_rank + a.qk_rope_head_dim, a.kv_lora_rank, capacity)
                                   : kernels::make_layer_cache(slots, a.num_key_value_heads, a.head_dim, a.head_dim, capacity));
}

int64_t KvCache::bytes_per_slot(const Architecture& a, int64_t capacity) {
  const int64_t second_latent = a.uses_mla() ? a.num_hidden_layers * a.kv_lora_rank : 0;
  return capacity * (a.cache_floats_per_token() + second_latent) * static_cast<int64_t>(sizeof(float));
}

void KvCache::copy(int64_t from, int64_t to, int64_t length) {
  for (kernels::LayerCache& layer : layers_) kernels::copy_slot(layer, from, to, length);
}

}  // namespace cohort::model
