#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/common/row_kernels.h"
#include "kernels/gemm/gemm.h"

namespace cohort::kernels {
namespace {

constexpr int64_t kDepth = 256;              // k per block: a panel of B (32 KiB) stays in the first-level cache
constexpr int64_t kWorkPerThread = 200'000;  // multiply-adds below which another thread costs more than it gives
constexpr int64_t kPackingRows = 8;          // rows of A whose products cost as much as packing B
constexpr int64_t kFewRows = 64;             // of A, which are packed whole

/// Grows, never shrinks: one per thread, so that small products do not pay for allocation.
float* scratch(std::vector<float>& buffer, int64_t size) {
  if (static_cast<int64_t>(buffer.size()) < size) buffer.resize(static_cast<size_t>(size));
  return buffer.data();
}

/// To the nearest bf16, halves to even, as at::Tensor::to does. In place; `count` is a multiple of 4.
void round_to_bf16(float* x, int64_t count) {
  using Bits = uint32_t __attribute__((vector_size(16), aligned(4), may_alias));
  for (int64_t i = 0; i < count; i += 4) {
    Bits& bits = *reinterpret_cast<Bits*>(x + i);
    const Bits rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
    bits = (bits & 0x7fffffffu) > 0x7f800000u ? (bits & 0u) + 0x7fc00000u : rounded;  // what is not a number stays so
  }
}

float rounded_to_bf16(float x) {
  float four[4] = {x};
  round_to_bf16(four, 4);
  return four[0];
}

/// Four columns of B, neighbours in k, as four rows of a panel: in registers, as scattered stores would cost more than the product.
void transpose_four(const float* from, int64_t col_stride, float* out) {
  using Four = float __attribute__((vector_size(16), aligned(4), may_alias));
  const auto column = [&](int64_t j) { return *reinterpret_cast<const Four*>(from + j * col_stride); };
  const Four c0 = column(0), c1 = column(1), c2 = column(2), c3 = column(3);
  const Four low01 = __builtin_shufflevector(c0, c1, 0, 4, 1, 5), low23 = __builtin_shufflevector(c2, c3, 0, 4, 1, 5);
  const Four high01 = __builtin_shufflevector(c0, c1, 2, 6, 3, 7), high23 = __builtin_shufflevector(c2, c3, 2, 6, 3, 7);
  const auto row = [&](int64_t k) -> Four& { return *reinterpret_cast<Four*>(out + k * kPanelWidth); };
  row(0) = __builtin_shufflevector(low01, low23, 0, 1, 4, 5), row(1) = __builtin_shufflevector(low01, low23, 2, 3, 6, 7);
  row(2) = __builtin_shufflevector(high01, high23, 0, 1, 4, 5), row(3) = __builtin_shufflevector(high01, high23, 2, 3, 6, 7);
}

/// Columns whose elements lie next to each other.
void pack_columns(const float* from, int64_t col_stride, int64_t depth, int64_t cols, float* out) {
  const int64_t whole_depth = depth / 4 * 4, whole_cols = cols / 4 * 4;
  for (int64_t k = 0; k < whole_depth; k += 4)
    for (int64_t j = 0; j < whole_cols; j += 4) transpose_four(from + j * col_stride + k, col_stride, out + k * kPanelWidth + j);
  for (int64_t j = 0; j < cols; ++j)
    for (int64_t k = j < whole_cols ? whole_depth : 0; k < depth; ++k) out[k * kPanelWidth + j] = from[j * col_stride + k];
}

/// One panel: kPanelWidth columns of B from column n0, rows k0 … k0+depth, padded with zeros.
void pack_panel(MatrixView b, int64_t k0, int64_t depth, int64_t n0, int64_t cols, float* out) {
  const float* from = b.data + k0 * b.row_stride + n0 * b.col_stride;
  if (cols < kPanelWidth) std::memset(out, 0, sizeof(float) * static_cast<size_t>(depth * kPanelWidth));
  if (b.col_stride == 1) {
    for (int64_t k = 0; k < depth; ++k)
      std::memcpy(out + k * kPanelWidth, from + k * b.row_stride, sizeof(float) * static_cast<size_t>(cols));
  } else if (b.row_stride == 1) {
    pack_columns(from, b.col_stride, depth, cols, out);
  } else {
    for (int64_t j = 0; j < cols; ++j)
      for (int64_t k = 0; k < depth; ++k) out[k * kPanelWidth + j] = from[j * b.col_stride + k * b.row_stride];
  }
  if (b.round_to_bf16) round_to_bf16(out, depth * kPanelWidth);
}

/// kTileHeight rows of A, interleaved by k, padded with zeros.
void pack_tile(MatrixView a, int64_t m0, int64_t rows, int64_t k0, int64_t depth, float* out) {
  const float* from = a.data + m0 * a.row_stride + k0 * a.col_stride;
  if (rows < kTileHeight) std::memset(out, 0, sizeof(float) * static_cast<size_t>(depth * kTileHeight));
  if (a.row_stride == 1) {
    for (int64_t k = 0; k < depth; ++k)
      std::memcpy(out + k * kTileHeight, from + k * a.col_stride, sizeof(float) * static_cast<size_t>(rows));
    return;
  }
  for (int64_t i = 0; i < rows; ++i) {
    const float* row = from + i * a.row_stride;
    for (int64_t k = 0; k < depth; ++k) out[k * kTileHeight + i] = row[k * a.col_stride];
  }
}

struct Product {
  int64_t m, n, k;
  MatrixView a, b;
  float* c;
  int64_t c_stride;
  bool accumulate;

  int64_t tiles() const { return (m + kTileHeight - 1) / kTileHeight; }
  int64_t panels() const { return (n + kPanelWidth - 1) / kPanelWidth; }
  int64_t tile_rows(int64_t tile) const { return std::min<int64_t>(kTileHeight, m - tile * kTileHeight); }
  int64_t panel_cols(int64_t panel) const { return std::min<int64_t>(kPanelWidth, n - panel * kPanelWidth); }

  /// One tile of A with one panel of B, both packed.
  void multiply(int64_t tile, int64_t panel, int64_t k0, int64_t depth, const float* packed_a, const float* packed_b) const {
    row_kernels().gemm_tile(depth, packed_a, packed_b, kPanelWidth, c + tile * kTileHeight * c_stride + panel * kPanelWidth, c_stride,
                            static_cast<int>(tile_rows(tile)), static_cast<int>(panel_cols(panel)), accumulate || k0 > 0);
  }
};

/// Few rows: B is most of the memory that is read, so each thread packs its panels and uses them while they are in its first-level cache.
void multiply_by_panels(const Product& p) {
  static thread_local std::vector<float> a_buffer;
  const int64_t tiles = p.tiles(), tile_size = p.k * kTileHeight;
  float* packed_a = scratch(a_buffer, tiles * tile_size);
  for (int64_t tile = 0; tile < tiles; ++tile) pack_tile(p.a, tile * kTileHeight, p.tile_rows(tile), 0, p.k, packed_a + tile * tile_size);
  const int64_t grain = std::max<int64_t>(1, kWorkPerThread / (kPanelWidth * p.k * std::max<int64_t>(p.m, kPackingRows)));
  at::parallel_for(0, p.panels(), grain, [&](int64_t begin, int64_t end) {
    static thread_local std::vector<float> b_buffer;
    float* packed_b = scratch(b_buffer, std::min(kDepth, p.k) * kPanelWidth);
    for (int64_t panel = begin; panel < end; ++panel)
      for (int64_t k0 = 0; k0 < p.k; k0 += kDepth) {
        const int64_t depth = std::min(kDepth, p.k - k0);
        pack_panel(p.b, k0, depth, panel * kPanelWidth, p.panel_cols(panel), packed_b);
        for (int64_t tile = 0; tile < tiles; ++tile)
          p.multiply(tile, panel, k0, depth, packed_a + tile * tile_size + k0 * kTileHeight, packed_b);
      }
  });
}

/// Many rows: B is packed once for all of them, a block of k at a time, and the tiles of A are shared out.
void multiply_by_tiles(const Product& p) {
  static thread_local std::vector<float> b_buffer;
  const int64_t panels = p.panels();
  for (int64_t k0 = 0; k0 < p.k; k0 += kDepth) {
    const int64_t depth = std::min(kDepth, p.k - k0), panel_size = depth * kPanelWidth;
    float* packed_b = scratch(b_buffer, panels * panel_size);
    const int64_t pack_grain = std::max<int64_t>(1, kWorkPerThread / (panel_size * kPackingRows));
    at::parallel_for(0, panels, pack_grain, [&](int64_t begin, int64_t end) {
      for (int64_t panel = begin; panel < end; ++panel)
        pack_panel(p.b, k0, depth, panel * kPanelWidth, p.panel_cols(panel), packed_b + panel * panel_size);
    });
    const int64_t grain = std::max<int64_t>(1, kWorkPerThread / (kTileHeight * p.n * depth));
    at::parallel_for(0, p.tiles(), grain, [&](int64_t begin, int64_t end) {
      static thread_local std::vector<float> a_buffer;
      float* packed_a = scratch(a_buffer, depth * kTileHeight);
      for (int64_t tile = begin; tile < end; ++tile) {
        pack_tile(p.a, tile * kTileHeight, p.tile_rows(tile), k0, depth, packed_a);
        for (int64_t panel = 0; panel < panels; ++panel) p.multiply(tile, panel, k0, depth, packed_a, packed_b + panel * panel_size);
      }
    });
  }
}

}  // namespace

void gemm(int64_t m, int64_t n, int64_t k, MatrixView a, MatrixView b, float* c, int64_t c_stride, bool accumulate) {
  if (m == 0 || n == 0) return;
  if (k == 0 && !accumulate)
    for (int64_t i = 0; i < m; ++i) std::fill_n(c + i * c_stride, n, 0.0f);
  if (k == 0) return;
  const Product product{m, n, k, a, b, c, c_stride, accumulate};
  if (m <= kFewRows)
    multiply_by_panels(product);
  else
    multiply_by_tiles(product);
}

void gemm_reference(int64_t m, int64_t n, int64_t k, MatrixView a, MatrixView b, float* c, int64_t c_stride, bool accumulate) {
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      float sum = accumulate ? c[i * c_stride + j] : 0.0f;
      for (int64_t l = 0; l < k; ++l)
        sum = std::fma(
            a.data[i * a.row_stride + l * a.col_stride],
            b.round_to_bf16 ? rounded_to_bf16(b.data[l * b.row_stride + j * b.col_stride]) : b.data[l * b.row_stride + j * b.col_stride],
            sum);
      c[i * c_stride + j] = sum;
    }
}

}  // namespace cohort::kernels
