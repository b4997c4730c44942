#pragma once
/// Keys and values of the tokens so far, for decoding. One slot holds one sequence.
///
/// Grouped-query attention caches keys and values. MLA caches the latent and the rotary key (kv_lora_rank + qk_rope_head_dim floats per
/// token; 576 in DeepSeek-V3): keys are [latent; rotary key], values the latent again, so on the CPU the latent lies there twice, once in
/// the layout each of the two products reads fast.

#include <cstdint>
#include <vector>

#include "core/model/architecture.h"
#include "kernels/attention/attention.h"

namespace cohort::model {

class KvCache {
 public:
  /// Room for `slots` sequences of up to `capacity` tokens.
  KvCache(const Architecture& a, int64_t slots, int64_t capacity);
  /// Bytes that each slot takes, without the kernels' padding.
  static int64_t bytes_per_slot(const Architecture& a, int64_t capacity);

  kernels::LayerCache& layer(int64_t i) { return layers_[static_cast<size_t>(i)]; }
  /// Copies the first `length` tokens of a slot to another.
  void copy(int64_t from, int64_t to, int64_t length);

 private:
  std::vector<kernels::LayerCache> layers_;
};

/// Where the rows of a forward pass live in a cache.
struct CacheRows {
  KvCache* cache = nullptr;        ///< null: nothing is cached (training)
  std::vector<int64_t> slots;      ///< per row
  std::vector<int64_t> positions;  ///< per row
  bool decode = false;             ///< one row per sequence, attending to the cache; otherwise whole prompts, which fill it
};

}  // namespace cohort::model
