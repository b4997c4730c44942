#pragma once
/// Causal softmax attention with grouped heads, for whole sequences (training, prefill) and for one token against a cache (decoding).
///
/// H query heads share Hk key/value heads (H a multiple of Hk): multi-head, grouped-query and, with Hk = 1, the absorbed form of MLA.
/// Row t of a sequence computes, in this order: scores over keys 0 … t (sum over the key width ascending), softmax numerators, the sum over
/// values (keys ascending), division by the denominator. The decode kernel does the same, so both give the same bits.

#include <ATen/core/Tensor.h>

#include <vector>

namespace cohort::kernels {

/// q [N, H, dk], k [N, Hk, dk], v [N, Hk, dv], rows contiguous; offsets: B+1 ascending positions of the sequences in N. → [N, H, dv].
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const std::vector<int64_t>& offsets, double scale);

struct AttentionGrads {
  at::Tensor dq, dk, dv;
};
/// Recomputes the probabilities instead of storing them.
AttentionGrads attention_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                  const std::vector<int64_t>& offsets, double scale);

/// Keys and values of one layer for a fixed number of slots (one sequence each). Keys are stored transposed, so that scores of
/// neighbouring keys lie side by side.
struct LayerCache {
  at::Tensor keys;    ///< [slots, Hk, dk, capacity]
  at::Tensor values;  ///< [slots, Hk, capacity + spare, dv]: rows beyond the capacity, because tiles read ahead
  int64_t capacity = 0;
};

/// capacity is rounded up to the tile width.
LayerCache make_layer_cache(int64_t slots, int64_t kv_heads, int64_t key_width, int64_t value_width, int64_t capacity);

/// Writes k [N, Hk, dk] and v [N, Hk, dv]: row i goes to (slots[i], positions[i]).
void append_to_cache(LayerCache& cache, const at::Tensor& k, const at::Tensor& v, const std::vector<int64_t>& slots,
                     const std::vector<int64_t>& positions);

/// Copies the first `length` positions of a slot to another: the answers of a group share their prompt.
void copy_slot(LayerCache& cache, int64_t from, int64_t to, int64_t length);

/// q [B, H, dk]: row i attends to positions 0 … positions[i] of slots[i]. → [B, H, dv].
at::Tensor attention_decode(const at::Tensor& q, const LayerCache& cache, const std::vector<int64_t>& slots,
                            const std::vector<int64_t>& positions, double scale);

}  // namespace cohort::kernels
