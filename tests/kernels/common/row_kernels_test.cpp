// The tables of inner loops: equal to the bit on every instruction set that this machine has, and close to the exact functions.
#include "kernels/common/row_kernels.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace cohort::kernels {
namespace {

using Floats = std::vector<float>;

std::vector<const RowKernels*> tables() {
  std::vector<const RowKernels*> out;
  for (const char* name : {"portable", "avx2", "avx512"})
    if (const RowKernels* table = row_kernels_named(name)) out.push_back(table);
  return out;
}

Floats random_floats(int64_t n, uint32_t seed, float scale = 1.0f) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  Floats out(static_cast<size_t>(n));
  for (float& x : out) x = normal(engine);
  return out;
}

bool same_bits(const Floats& a, const Floats& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), sizeof(float) * a.size()) == 0;
}

/// Distance in units of the last place of the exact value.
double ulps(float got, double exact) {
  const float near = static_cast<float>(exact);
  const double unit =
      static_cast<double>(std::nextafter(std::abs(near), std::numeric_limits<float>::infinity())) - std::abs(static_cast<double>(near));
  return std::abs(static_cast<double>(got) - exact) / unit;
}

/// Every entry of a table on rows of n random values; the result holds all that it wrote or returned.
struct Entry {
  const char* name;
  std::function<Floats(const RowKernels& kernels, int64_t n)> run;
};

Floats joined(std::initializer_list<Floats> parts) {
  Floats out;
  for (const Floats& p : parts) out.insert(out.end(), p.begin(), p.end());
  return out;
}

const std::vector<Entry>& entries() {
  static const std::vector<Entry> table = {
      {"softmax_row",
       [](const RowKernels& k, int64_t n) {
         Floats x = random_floats(n, 1, 4.0f), y(x.size()), rest(2);
         rest[0] = k.softmax_row(x.data(), n, 0.7f, y.data(), &rest[1]);
         return joined({y, rest});
       }},
      {"softmax_row_backward",
       [](const RowKernels& k, int64_t n) {
         Floats p = random_floats(n, 1), dp = random_floats(n, 2), ds(p.size());
         k.softmax_row_backward(p.data(), dp.data(), n, 0.3f, ds.data());
         return ds;
       }},
      {"rms_norm_row",
       [](const RowKernels& k, int64_t n) {
         Floats x = random_floats(n, 1), w = random_floats(n, 2), y(x.size()), r(1);
         k.rms_norm_row(x.data(), w.data(), n, 1e-6f, y.data(), r.data());
         return joined({y, r});
       }},
      {"rms_norm_row_backward",
       [](const RowKernels& k, int64_t n) {
         Floats x = random_floats(n, 1), w = random_floats(n, 2), dy = random_floats(n, 3), dx(x.size()), dw = random_floats(n, 4);
         k.rms_norm_row_backward(x.data(), w.data(), dy.data(), n, 0.9f, dx.data(), dw.data());
         return joined({dx, dw});
       }},
      {"swiglu",
       [](const RowKernels& k, int64_t n) {
         Floats gate = random_floats(n, 1, 3.0f), up = random_floats(n, 2), y(gate.size());
         k.swiglu(gate.data(), up.data(), n, y.data());
         return y;
       }},
      {"swiglu_backward",
       [](const RowKernels& k, int64_t n) {
         Floats gate = random_floats(n, 1, 3.0f), up = random_floats(n, 2), dy = random_floats(n, 3), dgate(gate.size()), dup(gate.size());
         k.swiglu_backward(gate.data(), up.data(), dy.data(), n, dgate.data(), dup.data());
         return joined({dgate, dup});
       }},
      {"sigmoid",
       [](const RowKernels& k, int64_t n) {
         Floats x = random_floats(n, 1, 5.0f), y(x.size());
         k.sigmoid(x.data(), n, y.data());
         return y;
       }},
      {"dot",
       [](const RowKernels& k, int64_t n) {
         const Floats a = random_floats(n, 1), b = random_floats(n, 2);
         return Floats{k.dot(a.data(), b.data(), n)};
       }},
      {"add_scaled",
       [](const RowKernels& k, int64_t n) {
         Floats x = random_floats(n, 1), y = random_floats(n, 2);
         k.add_scaled(x.data(), 0.37f, n, y.data());
         return y;
       }},
      {"rotate pairs",
       [](const RowKernels& k, int64_t n) {
         Floats x = random_floats(2 * n, 1), c = random_floats(n, 2), s = random_floats(n, 3);
         k.rotate(x.data(), x.data() + 1, n, 2, c.data(), s.data(), 1.0f);
         return x;
       }},
      {"rotate halves back",
       [](const RowKernels& k, int64_t n) {
         Floats x = random_floats(2 * n, 1), c = random_floats(n, 2), s = random_floats(n, 3);
         k.rotate(x.data(), x.data() + n, n, 1, c.data(), s.data(), -1.0f);
         return x;
       }},
      {"adamw",
       [](const RowKernels& k, int64_t n) {
         Floats value = random_floats(n, 1), grad = random_floats(n, 2), m = random_floats(n, 3), v = random_floats(n, 4);
         for (float& x : v) x = x * x;
         k.adamw(value.data(), grad.data(), m.data(), v.data(), n, 0.8f, 1e-3f, 0.1f, 0.95f, 0.05f, 1e-8f, 0.1f, 0.19f, 0.31f);
         return joined({value, m, v});
       }},
  };
  return table;
}

/// A tile in the layout that gemm_tile wants, with room around C that must stay as it is.
struct Tile {
  int64_t depth, b_stride, c_stride;
  Floats a, b, c;
  Tile(int64_t k, int64_t stride) : depth(k), b_stride(stride), c_stride(kPanelWidth + 5) {
    a = random_floats(k * kTileHeight, 1), b = random_floats(k * stride + kPanelWidth, 2),
    c = random_floats((kTileHeight + 1) * c_stride, 3);
  }
  Floats run(const RowKernels& kernels, int rows, int cols, bool accumulate) const {
    Floats out = c;
    kernels.gemm_tile(depth, a.data(), b.data(), b_stride, out.data(), c_stride, rows, cols, accumulate);
    return out;
  }
  Floats specified(int rows, int cols, bool accumulate) const {
    Floats out = c;
    for (int m = 0; m < rows; ++m)
      for (int n = 0; n < cols; ++n) {
        float sum = accumulate ? c[static_cast<size_t>(m * c_stride + n)] : 0.0f;
        for (int64_t k = 0; k < depth; ++k)
          sum = std::fma(a[static_cast<size_t>(k * kTileHeight + m)], b[static_cast<size_t>(k * b_stride + n)], sum);
        out[static_cast<size_t>(m * c_stride + n)] = sum;
      }
    return out;
  }
};

/// softmax_row of {0, x…} gives exp(x) for x ≤ 0.
Floats exp_of(const RowKernels& kernels, Floats x) {
  x.push_back(0.0f);
  Floats y(x.size());
  float largest = -1.0f;
  kernels.softmax_row(x.data(), static_cast<int64_t>(x.size()), 1.0f, y.data(), &largest);
  REQUIRE(largest == 0.0f);
  REQUIRE(y.back() == 1.0f);
  y.pop_back();
  return y;
}

}  // namespace

TEST_CASE("tables are found by name, and the one in use is one of them") {
  REQUIRE(row_kernels_named("portable") != nullptr);
  CHECK(row_kernels_named("sse9") == nullptr);
  for (const RowKernels* table : tables()) CHECK(row_kernels_named(table->name) == table);
  CHECK(row_kernels_named(row_kernels().name) == &row_kernels());
}

TEST_CASE("a tile of gemm is the specified loop of fused multiply-adds, to the bit, in every table") {
  for (const RowKernels* table : tables())
    for (const int64_t depth : {0, 1, 5, 257})
      for (const int64_t stride : {kPanelWidth, kPanelWidth + 13}) {
        const Tile tile(depth, stride);
        for (const int rows : {1, 2, 3, 5, 7, 8})
          for (const int cols : {1, 7, 31, 32})
            for (const bool accumulate : {false, true}) {
              CAPTURE(table->name, depth, stride, rows, cols, accumulate);
              CHECK(same_bits(tile.run(*table, rows, cols, accumulate), tile.specified(rows, cols, accumulate)));
            }
      }
}

TEST_CASE("every other entry gives the same bits in every table") {
  const RowKernels& portable = *row_kernels_named("portable");
  for (const RowKernels* table : tables())
    for (const Entry& entry : entries())
      for (const int64_t n : {1, 2, 15, 16, 17, 31, 33, 100, 1000}) {
        CAPTURE(table->name, entry.name, n);
        CHECK(same_bits(entry.run(*table, n), entry.run(portable, n)));
      }
}

TEST_CASE("exp is within 2 units of the last place for arguments from -87 to 0") {
  Floats x;
  for (int i = 0; i <= 200'000; ++i) x.push_back(static_cast<float>(-87.0 * i / 200'000));
  for (const RowKernels* table : tables()) {
    CAPTURE(table->name);
    const Floats y = exp_of(*table, x);
    double worst = 0.0;
    for (size_t i = 0; i < x.size(); ++i) worst = std::max(worst, ulps(y[i], std::exp(static_cast<double>(x[i]))));
    CHECK(worst <= 2.0);
  }
}

TEST_CASE("exp is 0 far below, and NaN goes through") {
  const float infinity = std::numeric_limits<float>::infinity();
  const Floats y = exp_of(row_kernels(), {-87.2f, -87.4f, -1e30f, -infinity});
  CHECK(y[0] > 0.0f);
  CHECK(y[1] == 0.0f);
  CHECK(y[2] == 0.0f);
  CHECK(y[3] == 0.0f);
  const Floats bad = {0.0f, std::nanf(""), 1.0f};
  Floats out(3);
  float largest;
  CHECK(std::isnan(row_kernels().softmax_row(bad.data(), 3, 1.0f, out.data(), &largest)));
}

TEST_CASE("sigmoid is accurate on both sides and saturates") {
  Floats x;
  for (int i = -80'000; i <= 80'000; ++i) x.push_back(static_cast<float>(i) * 1e-3f);
  Floats y(x.size());
  row_kernels().sigmoid(x.data(), static_cast<int64_t>(x.size()), y.data());
  double worst = 0.0;
  for (size_t i = 0; i < x.size(); ++i) worst = std::max(worst, ulps(y[i], 1.0 / (1.0 + std::exp(-static_cast<double>(x[i])))));
  CHECK(worst <= 4.0);
  const Floats ends = {-1e30f, 1e30f};
  row_kernels().sigmoid(ends.data(), 2, y.data());
  CHECK(y[0] >= 0.0f);
  CHECK(y[0] < 1e-37f);
  CHECK(y[1] == 1.0f);
}

TEST_CASE("softmax_row returns the sum of what it wrote, and the scaled maximum") {
  for (const int64_t n : {1, 16, 17, 300}) {
    const Floats x = random_floats(n, 7, 3.0f);
    Floats y(x.size());
    float largest;
    const float total = row_kernels().softmax_row(x.data(), n, 0.5f, y.data(), &largest);
    double sum = 0.0, top = -1e9;
    for (size_t i = 0; i < x.size(); ++i) sum += y[i], top = std::max(top, 0.5 * static_cast<double>(x[i]));
    CHECK(total == Approx(sum).epsilon(1e-6));
    CHECK(largest == static_cast<float>(top));
  }
}

}  // namespace cohort::kernels
