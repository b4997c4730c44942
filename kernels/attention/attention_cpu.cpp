#include "kernels/attention/attention.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>

#include "kernels/common/row_kernels.h"
#include "kernels/common/tensor_check.h"
#include "kernels/gemm/gemm.h"

namespace cohort::kernels {
namespace {

constexpr int64_t kRowBlock = 32;  // query rows handled together: skips most of the upper triangle

/// One head of a [N, H, d] tensor, restricted to the rows of a sequence, as a T × d matrix.
MatrixView head_rows(const at::Tensor& t, int64_t begin, int64_t h) {
  return {t.data_ptr<float>() + begin * t.stride(0) + h * t.stride(1), t.stride(0), 1};
}

MatrixView from_row(MatrixView m, int64_t row) { return {m.data + row * m.row_stride, m.row_stride, m.col_stride}; }

struct Shape {
  int64_t n, heads, kv_heads, dk, dv;
};

Shape check(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const std::vector<int64_t>& offsets) {
  rows_f32(q, "attention", "q"), rows_f32(k, "attention", "k"), rows_f32(v, "attention", "v");
  TORCH_CHECK(q.dim() == 3 && k.dim() == 3 && v.dim() == 3 && q.size(0) == k.size(0) && q.size(0) == v.size(0) && q.size(2) == k.size(2) &&
                  k.size(1) == v.size(1) && q.size(1) % k.size(1) == 0,
              "attention: q ", q.sizes(), ", k ", k.sizes(), ", v ", v.sizes(), " do not fit");
  TORCH_CHECK(!offsets.empty() && offsets.front() == 0 && std::is_sorted(offsets.begin(), offsets.end()) && offsets.back() == q.size(0),
              "attention: offsets: expected ascending from 0 to ", q.size(0), ", found [", offsets, "]");
  return {q.size(0), q.size(1), k.size(1), q.size(2), v.size(2)};
}

/// Softmax numerators of rows [row, row + count) of one head into weights [count, columns], zero beyond the diagonal; 1/denominator per
/// row.
void softmax_block(MatrixView q, MatrixView k, int64_t dk, int64_t row, int64_t count, int64_t columns, float scale, float* weights,
                   float* inverse_sum) {
  gemm(count, columns, dk, from_row(q, row), k.transposed(), weights, columns, false);
  for (int64_t i = 0; i < count; ++i) {
    float* w = weights + i * columns;
    const int64_t visible = row + i + 1;
    float largest;
    inverse_sum[i] = 1.0f / row_kernels().softmax_row(w, visible, scale, w, &largest);
    std::fill(w + visible, w + columns, 0.0f);
  }
}

void scale_row(float* row, int64_t n, float factor) {
  for (int64_t i = 0; i < n; ++i) row[i] *= factor;
}

void forward_head(MatrixView q, MatrixView k, MatrixView v, int64_t length, const Shape& s, float scale, float* out, int64_t out_stride) {
  std::vector<float> weights(static_cast<size_t>(kRowBlock * length)), inverse_sum(kRowBlock);
  for (int64_t row = 0; row < length; row += kRowBlock) {
    const int64_t count = std::min(kRowBlock, length - row), columns = row + count;
    softmax_block(q, k, s.dk, row, count, columns, scale, weights.data(), inverse_sum.data());
    gemm(count, s.dv, columns, row_major(weights.data(), columns), v, out + row * out_stride, out_stride, false);
    for (int64_t i = 0; i < count; ++i) scale_row(out + (row + i) * out_stride, s.dv, inverse_sum[static_cast<size_t>(i)]);
  }
}

/// Adds one head's share to dk and dv of its key/value head; writes dq.
void backward_head(MatrixView q, MatrixView k, MatrixView v, MatrixView dout, int64_t length, const Shape& s, float scale, float* dq,
                   int64_t dq_stride, float* dk, int64_t dk_stride, float* dv, int64_t dv_stride) {
  std::vector<float> p(static_cast<size_t>(length * length)), dp(static_cast<size_t>(length * length)),
      inverse_sum(static_cast<size_t>(length));
  softmax_block(q, k, s.dk, 0, length, length, scale, p.data(), inverse_sum.data());
  for (int64_t t = 0; t < length; ++t) scale_row(p.data() + t * length, t + 1, inverse_sum[static_cast<size_t>(t)]);
  const MatrixView p_view = row_major(p.data(), length), ds_view = row_major(dp.data(), length);
  gemm(length, s.dv, length, p_view.transposed(), dout, dv, dv_stride, true);
  gemm(length, length, s.dv, dout, v.transposed(), dp.data(), length, false);
  for (int64_t t = 0; t < length; ++t) {
    float* row = dp.data() + t * length;
    row_kernels().softmax_row_backward(p.data() + t * length, row, t + 1, scale, row);
    std::fill(row + t + 1, row + length, 0.0f);
  }
  gemm(length, s.dk, length, ds_view, k, dq, dq_stride, false);
  gemm(length, s.dk, length, ds_view.transposed(), q, dk, dk_stride, true);
}

}  // namespace

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const std::vector<int64_t>& offsets, double scale) {
  const Shape s = check(q, k, v, offsets);
  at::Tensor out = at::empty({s.n, s.heads, s.dv}, q.options());
  const int64_t sequences = static_cast<int64_t>(offsets.size()) - 1, group = s.heads / s.kv_heads;
  at::parallel_for(0, sequences * s.heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t job = begin; job < end; ++job) {
      const int64_t from = offsets[static_cast<size_t>(job / s.heads)], to = offsets[static_cast<size_t>(job / s.heads) + 1],
                    h = job % s.heads;
      forward_head(head_rows(q, from, h), head_rows(k, from, h / group), head_rows(v, from, h / group), to - from, s,
                   static_cast<float>(scale), out.data_ptr<float>() + (from * s.heads + h) * s.dv, s.heads * s.dv);
    }
  });
  return out;
}

AttentionGrads attention_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                  const std::vector<int64_t>& offsets, double scale) {
  const Shape s = check(q, k, v, offsets);
  dense_f32(dout, "attention", "dout");
  AttentionGrads g{at::empty({s.n, s.heads, s.dk}, q.options()), at::zeros({s.n, s.kv_heads, s.dk}, q.options()),
                   at::zeros({s.n, s.kv_heads, s.dv}, q.options())};
  const int64_t sequences = static_cast<int64_t>(offsets.size()) - 1, group = s.heads / s.kv_heads;
  at::parallel_for(0, sequences * s.kv_heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t job = begin; job < end; ++job) {
      const int64_t from = offsets[static_cast<size_t>(job / s.kv_heads)], to = offsets[static_cast<size_t>(job / s.kv_heads) + 1];
      const int64_t kv = job % s.kv_heads;
      for (int64_t h = kv * group; h < (kv + 1) * group; ++h)
        backward_head(head_rows(q, from, h), head_rows(k, from, kv), head_rows(v, from, kv), head_rows(dout, from, h), to - from, s,
                      static_cast<float>(scale), g.dq.data_ptr<float>() + (from * s.heads + h) * s.dk, s.heads * s.dk,
                      g.dk.data_ptr<float>() + (from * s.kv_heads + kv) * s.dk, s.kv_heads * s.dk,
                      g.dv.data_ptr<float>() + (from * s.kv_heads + kv) * s.dv, s.kv_heads * s.dv);
    }
  });
  return g;
}

LayerCache make_layer_cache(int64_t slots, int64_t kv_heads, int64_t key_width, int64_t value_width, int64_t capacity) {
  LayerCache cache;
  cache.capacity = (capacity + kPanelWidth - 1) / kPanelWidth * kPanelWidth;
  cache.keys = at::zeros({slots, kv_heads, key_width, cache.capacity}, at::kFloat);
  const int64_t spare = (kPanelWidth + value_width - 1) / value_width;  // rows that the last tile may read past the end
  cache.values = at::zeros({slots, kv_heads, cache.capacity + spare, value_width}, at::kFloat);
  return cache;
}

void append_to_cache(LayerCache& cache, const at::Tensor& k, const at::Tensor& v, const std::vector<int64_t>& slots,
                     const std::vector<int64_t>& positions) {
  rows_f32(k, "append_to_cache", "k"), rows_f32(v, "append_to_cache", "v");
  const int64_t kv_heads = k.size(1), dk = k.size(2), dv = v.size(2);
  TORCH_CHECK(k.size(0) == static_cast<int64_t>(slots.size()) && v.size(0) == k.size(0) && slots.size() == positions.size() &&
                  cache.keys.size(1) == kv_heads && cache.keys.size(2) == dk && cache.values.size(3) == dv,
              "append_to_cache: k ", k.sizes(), ", v ", v.sizes(), " do not fit cache ", cache.keys.sizes());
  for (size_t i = 0; i < slots.size(); ++i) {
    TORCH_CHECK(slots[i] >= 0 && slots[i] < cache.keys.size(0), "append_to_cache: slot ", slots[i], " of ", cache.keys.size(0));
    TORCH_CHECK(positions[i] >= 0 && positions[i] < cache.capacity, "append_to_cache: position ", positions[i], " beyond capacity ",
                cache.capacity);
    const int64_t row = static_cast<int64_t>(i);
    for (int64_t h = 0; h < kv_heads; ++h) {
      const float* key = k.data_ptr<float>() + row * k.stride(0) + h * k.stride(1);
      float* keys = cache.keys.data_ptr<float>() + (slots[i] * kv_heads + h) * dk * cache.capacity + positions[i];
      for (int64_t d = 0; d < dk; ++d) keys[d * cache.capacity] = key[d];
      std::memcpy(cache.values.data_ptr<float>() + ((slots[i] * kv_heads + h) * cache.values.size(2) + positions[i]) * dv,
                  v.data_ptr<float>() + row * v.stride(0) + h * v.stride(1), sizeof(float) * static_cast<size_t>(dv));
    }
  }
}

void copy_slot(LayerCache& cache, int64_t from, int64_t to, int64_t length) {
  cache.keys[to].narrow(2, 0, length).copy_(cache.keys[from].narrow(2, 0, length));
  cache.values[to].narrow(1, 0, length).copy_(cache.values[from].narrow(1, 0, length));
}

namespace {

/// A block of at most kTileHeight query heads that share one key/value head, against its cache.
void decode_heads(const float* q, int64_t q_stride, int heads, const float* keys, const float* values, int64_t capacity, int64_t length,
                  const Shape& s, float scale, float* out, std::vector<float>& buffer) {
  const RowKernels& kernels = row_kernels();
  const int64_t padded = (length + kPanelWidth - 1) / kPanelWidth * kPanelWidth;
  buffer.assign(static_cast<size_t>(kTileHeight * (s.dk + 2 * padded)), 0.0f);
  float *packed_q = buffer.data(), *scores = packed_q + kTileHeight * s.dk, *packed_p = scores + kTileHeight * padded;
  for (int h = 0; h < heads; ++h)
    for (int64_t d = 0; d < s.dk; ++d) packed_q[d * kTileHeight + h] = q[h * q_stride + d];
  for (int64_t j = 0; j < padded; j += kPanelWidth)
    kernels.gemm_tile(s.dk, packed_q, keys + j, capacity, scores + j, padded, heads, kPanelWidth, false);
  float inverse_sum[kTileHeight];
  for (int h = 0; h < heads; ++h) {
    float* row = scores + h * padded;
    float largest;
    inverse_sum[h] = 1.0f / kernels.softmax_row(row, length, scale, row, &largest);
    for (int64_t j = 0; j < length; ++j) packed_p[j * kTileHeight + h] = row[j];
  }
  for (int64_t d = 0; d < s.dv; d += kPanelWidth)
    kernels.gemm_tile(length, packed_p, values + d, s.dv, out + d, s.dv, heads, static_cast<int>(std::min<int64_t>(kPanelWidth, s.dv - d)),
                      false);
  for (int h = 0; h < heads; ++h) scale_row(out + h * s.dv, s.dv, inverse_sum[h]);
}

}  // namespace

at::Tensor attention_decode(const at::Tensor& q, const LayerCache& cache, const std::vector<int64_t>& slots,
                            const std::vector<int64_t>& positions, double scale) {
  rows_f32(q, "attention_decode", "q");
  const Shape s{q.size(0), q.size(1), cache.keys.size(1), q.size(2), cache.values.size(3)};
  TORCH_CHECK(cache.keys.size(2) == s.dk && static_cast<int64_t>(slots.size()) == s.n && slots.size() == positions.size(),
              "attention_decode: q ", q.sizes(), " does not fit cache ", cache.keys.sizes());
  at::Tensor out = at::empty({s.n, s.heads, s.dv}, q.options());
  const int64_t group = s.heads / s.kv_heads;
  at::parallel_for(0, s.n, 16, [&](int64_t begin, int64_t end) {
    std::vector<float> buffer;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t slot = slots[static_cast<size_t>(i)];
      for (int64_t kv = 0; kv < s.kv_heads; ++kv)
        for (int64_t first = 0; first < group; first += kTileHeight) {
          const int64_t h = kv * group + first;
          decode_heads(q.data_ptr<float>() + i * q.stride(0) + h * q.stride(1), q.stride(1),
                       static_cast<int>(std::min<int64_t>(kTileHeight, group - first)),
                       cache.keys.data_ptr<float>() + (slot * s.kv_heads + kv) * s.dk * cache.capacity,
                       cache.values.data_ptr<float>() + (slot * s.kv_heads + kv) * cache.values.size(2) * s.dv, cache.capacity,
                       positions[static_cast<size_t>(i)] + 1, s, static_cast<float>(scale),
                       out.data_ptr<float>() + (i * s.heads + h) * s.dv, buffer);
        }
    }
  });
  return out;
}

}  // namespace cohort::kernels
