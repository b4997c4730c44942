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

/// Grows, never shrinks: one per thread, so that small products do not pay for allocation.
float* scratch(std::vector<float>& buffer, int64_t size) {
  if (static_cast<int64_t>(buffer.size()) < size) buffer.resize(static_cast<size_t>(size));
  return buffer.data();
}

/// One panel: kPanelWidth columns of B from column n0, rows k0 … k0+depth, padded with zeros.
void pack_panel(MatrixView b, int64_t k0, int64_t depth, int64_t n0, int64_t cols, float* out) {
  const float* from = b.data + k0 * b.row_stride + n0 * b.col_stride;
  if (cols < kPanelWidth) std::memset(out, 0, sizeof(float) * static_cast<size_t>(depth * kPanelWidth));
  if (b.col_stride == 1) {
    for (int64_t k = 0; k < depth; ++k)
      std::memcpy(out + k * kPanelWidth, from + k * b.row_stride, sizeof(float) * static_cast<size_t>(cols));
    return;
  }
  for (int64_t j = 0; j < cols; ++j) {
    const float* column = from + j * b.col_stride;
    for (int64_t k = 0; k < depth; ++k) out[k * kPanelWidth + j] = column[k * b.row_stride];
  }
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

struct Job {
  int64_t m, n, k0, depth;
  MatrixView a;
  const float* panels;
  float* c;
  int64_t c_stride;
  bool accumulate;
};

void run_tiles(const Job& job, int64_t tile_begin, int64_t tile_end) {
  static thread_local std::vector<float> buffer;
  float* packed = scratch(buffer, job.depth * kTileHeight);
  const RowKernels& kernels = row_kernels();
  for (int64_t tile = tile_begin; tile < tile_end; ++tile) {
    const int64_t m0 = tile * kTileHeight, rows = std::min<int64_t>(kTileHeight, job.m - m0);
    pack_tile(job.a, m0, rows, job.k0, job.depth, packed);
    for (int64_t n0 = 0; n0 < job.n; n0 += kPanelWidth)
      kernels.gemm_tile(job.depth, packed, job.panels + n0 * job.depth, kPanelWidth, job.c + m0 * job.c_stride + n0, job.c_stride,
                        static_cast<int>(rows), static_cast<int>(std::min<int64_t>(kPanelWidth, job.n - n0)), job.accumulate);
  }
}

}  // namespace

void gemm(int64_t m, int64_t n, int64_t k, MatrixView a, MatrixView b, float* c, int64_t c_stride, bool accumulate) {
  if (m == 0 || n == 0) return;
  if (k == 0 && !accumulate)
    for (int64_t i = 0; i < m; ++i) std::fill_n(c + i * c_stride, n, 0.0f);
  static thread_local std::vector<float> buffer;
  const int64_t panels = (n + kPanelWidth - 1) / kPanelWidth, tiles = (m + kTileHeight - 1) / kTileHeight;
  for (int64_t k0 = 0; k0 < k; k0 += kDepth) {
    const int64_t depth = std::min(kDepth, k - k0);
    float* packed = scratch(buffer, panels * kPanelWidth * depth);
    for (int64_t p = 0; p < panels; ++p)
      pack_panel(b, k0, depth, p * kPanelWidth, std::min<int64_t>(kPanelWidth, n - p * kPanelWidth), packed + p * kPanelWidth * depth);
    const Job job{m, n, k0, depth, a, packed, c, c_stride, accumulate || k0 > 0};
    const int64_t grain = std::max<int64_t>(1, kWorkPerThread / std::max<int64_t>(1, kTileHeight * n * depth));
    at::parallel_for(0, tiles, grain, [&](int64_t begin, int64_t end) { run_tiles(job, begin, end); });
  }
}

void gemm_reference(int64_t m, int64_t n, int64_t k, MatrixView a, MatrixView b, float* c, int64_t c_stride, bool accumulate) {
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      float sum = accumulate ? c[i * c_stride + j] : 0.0f;
      for (int64_t l = 0; l < k; ++l)
        sum = std::fma(a.data[i * a.row_stride + l * a.col_stride], b.data[l * b.row_stride + j * b.col_stride], sum);
      c[i * c_stride + j] = sum;
    }
}

}  // namespace cohort::kernels
