// The blocked product against its specification, to the bit, and what follows from the fixed order of summation.
#include "kernels/gemm/gemm.h"

#include <ATen/Parallel.h>

#include <limits>

#include "tests/kernels/op_case.h"

namespace cohort::kernels {
namespace {

using Floats = std::vector<float>;

Floats random_floats(int64_t n, uint64_t seed) {
  const at::Tensor t = test::random_tensor({n}, seed);
  return {t.data_ptr<float>(), t.data_ptr<float>() + n};
}

bool same_bits(const Floats& a, const Floats& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), sizeof(float) * a.size()) == 0;
}

/// A rows × cols matrix in one of the layouts that callers use.
struct Layout {
  const char* name;
  int64_t pad;      ///< floats between rows (or columns) beyond the matrix
  bool by_columns;  ///< neighbours in memory are neighbours in a column
  bool apart;       ///< no two elements are neighbours
};
const std::vector<Layout> kLayouts = {
    {"rows", 0, false, false}, {"padded rows", 3, false, false}, {"columns", 2, true, false}, {"every second", 0, false, true}};

struct Matrix {
  Floats memory;
  MatrixView view;
  Matrix(int64_t rows, int64_t cols, const Layout& layout, uint64_t seed) {
    const int64_t step = layout.apart ? 2 : 1, line = (layout.by_columns ? rows : cols) * step + layout.pad;
    memory = random_floats(std::max<int64_t>(1, (layout.by_columns ? cols : rows) * line), seed);
    view = layout.by_columns ? MatrixView{memory.data(), step, line} : MatrixView{memory.data(), line, step};
  }
};

MatrixView from(MatrixView m, int64_t row, int64_t col) {
  return {m.data + row * m.row_stride + col * m.col_stride, m.row_stride, m.col_stride};
}

struct Size {
  int64_t m, n, k;
};
/// Around the tile (8 × 32) and the depth of a block (256).
const std::vector<Size> kSizes = {{1, 1, 1},    {1, 33, 7},    {3, 5, 2},   {7, 31, 17}, {8, 32, 256},
                                  {9, 65, 257}, {17, 40, 600}, {70, 3, 31}, {1, 70, 513}};

}  // namespace

TEST_CASE("gemm equals the three loops to the bit, whatever the sizes and strides") {
  for (const Size& s : kSizes)
    for (const Layout& a_layout : kLayouts)
      for (const Layout& b_layout : kLayouts)
        for (const bool accumulate : {false, true}) {
          CAPTURE(s.m, s.n, s.k, a_layout.name, b_layout.name, accumulate);
          const Matrix a(s.m, s.k, a_layout, 1), b(s.k, s.n, b_layout, 2);
          const int64_t c_stride = s.n + 4;  // what lies between the rows of C must stay as it is
          Floats got = random_floats(s.m * c_stride, 3), want = got;
          gemm(s.m, s.n, s.k, a.view, b.view, got.data(), c_stride, accumulate);
          gemm_reference(s.m, s.n, s.k, a.view, b.view, want.data(), c_stride, accumulate);
          CHECK(same_bits(got, want));
        }
}

TEST_CASE("B is rounded to bf16 as a tensor is, where that is asked for") {
  for (const Size& s : {Size{1, 70, 513}, Size{9, 65, 257}, Size{70, 33, 31}})
    for (const Layout& layout : kLayouts) {
      CAPTURE(s.m, s.n, s.k, layout.name);
      const Matrix a(s.m, s.k, kLayouts[0], 1);
      Matrix b(s.k, s.n, layout, 2), rounded = b;
      b.memory[0] = rounded.memory[0] = 1.00390625f;                                // half way between two: to the even one
      b.memory.back() = rounded.memory.back() = std::numeric_limits<float>::max();  // to infinity
      const at::Tensor memory = at::from_blob(rounded.memory.data(), {static_cast<int64_t>(rounded.memory.size())}, at::kFloat);
      memory.copy_(memory.to(at::kBFloat16).to(at::kFloat));
      rounded.view.data = rounded.memory.data();
      b.view.round_to_bf16 = true;
      Floats got(static_cast<size_t>(s.m * s.n)), want = got, specified = got;
      gemm(s.m, s.n, s.k, a.view, b.view, got.data(), s.n, false);
      gemm_reference(s.m, s.n, s.k, a.view, b.view, specified.data(), s.n, false);
      gemm(s.m, s.n, s.k, a.view, rounded.view, want.data(), s.n, false);
      CHECK(same_bits(got, want));
      CHECK(same_bits(specified, want));
    }
}

TEST_CASE("the specification is the product of matrices") {
  const Matrix a(9, 65, kLayouts[1], 1), b(65, 33, kLayouts[2], 2);
  at::Tensor c = at::empty({9, 33}, at::kFloat);
  gemm_reference(9, 33, 65, a.view, b.view, c.data_ptr<float>(), 33, false);
  const auto as_tensor = [](const Matrix& m, int64_t rows, int64_t cols) {
    return at::from_blob(const_cast<float*>(m.view.data), {rows, cols}, {m.view.row_stride, m.view.col_stride}, at::kFloat).to(at::kDouble);
  };
  CHECK(test::relative_error(c, at::matmul(as_tensor(a, 9, 65), as_tensor(b, 65, 33))) <= 1e-6);
}

TEST_CASE("without terms the sum is 0, or what was there") {
  const Floats none(1);
  Floats c = {1, 2, 3, 4, 5, 6};
  gemm(2, 2, 0, row_major(none.data(), 1), row_major(none.data(), 1), c.data(), 3, true);
  CHECK(c == Floats{1, 2, 3, 4, 5, 6});
  gemm(2, 2, 0, row_major(none.data(), 1), row_major(none.data(), 1), c.data(), 3, false);
  CHECK(c == Floats{0, 0, 3, 0, 0, 6});
  gemm(0, 2, 4, row_major(none.data(), 1), row_major(none.data(), 1), c.data(), 3, false);
  gemm(2, 0, 4, row_major(none.data(), 1), row_major(none.data(), 1), c.data(), 3, false);
  CHECK(c == Floats{0, 0, 3, 0, 0, 6});
}

TEST_CASE("a row has the same bits beside other rows and alone, and a column likewise") {
  const int64_t m = 37, n = 70, k = 300;
  const Matrix a(m, k, kLayouts[0], 1), b(k, n, kLayouts[0], 2);
  Floats whole(static_cast<size_t>(m * n)), parts(whole.size());
  gemm(m, n, k, a.view, b.view, whole.data(), n, false);
  for (int64_t row = 0, rows = 1; row < m; row += rows, rows = std::min(m - row, rows + 4))
    gemm(rows, n, k, from(a.view, row, 0), b.view, parts.data() + row * n, n, false);
  CHECK(same_bits(whole, parts));
  std::fill(parts.begin(), parts.end(), 0.0f);
  for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 1}, {1, 34}, {34, 70}})
    gemm(m, end - begin, k, a.view, from(b.view, 0, begin), parts.data() + begin, n, false);
  CHECK(same_bits(whole, parts));
}

TEST_CASE("a sum over k in several calls has the bits of one") {
  const int64_t m = 13, n = 41, k = 700;
  const Matrix a(m, k, kLayouts[0], 1), b(k, n, kLayouts[0], 2);
  Floats whole = random_floats(m * n, 3), parts = whole;
  gemm(m, n, k, a.view, b.view, whole.data(), n, true);
  for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 1}, {1, 300}, {300, 557}, {557, 700}})
    gemm(m, n, end - begin, from(a.view, 0, begin), from(b.view, begin, 0), parts.data(), n, true);
  CHECK(same_bits(whole, parts));
}

TEST_CASE("the number of threads does not change a bit") {
  const int64_t m = 200, n = 96, k = 520;  // large enough for more than one thread
  const Matrix a(m, k, kLayouts[0], 1), b(k, n, kLayouts[0], 2);
  const int before = at::get_num_threads();
  std::vector<Floats> results;
  for (const int threads : {1, 2, 3}) {
    at::set_num_threads(threads);
    Floats c(static_cast<size_t>(m * n));
    gemm(m, n, k, a.view, b.view, c.data(), n, false);
    results.push_back(std::move(c));
  }
  at::set_num_threads(before);
  CHECK(same_bits(results[0], results[1]));
  CHECK(same_bits(results[0], results[2]));
}

}  // namespace cohort::kernels
