#include "kernels/attention/attention.h"

#include <cmath>
#include <limits>
#include <numeric>

#include "tests/kernels/op_case.h"

namespace cohort::kernels {
namespace {

using test::OpCase;
using test::random_tensor;
using test::Tensors;

struct Shape {
  const char* name;
  int64_t heads, kv_heads, key_width, value_width;
};
const std::vector<Shape> kShapes = {{"one head per key head", 3, 3, 10, 10},
                                    {"grouped", 6, 2, 16, 24},
                                    {"one key head", 12, 1, 7, 5},        // more query heads than a tile is high
                                    {"absorbed latent", 4, 1, 300, 260},  // wider than a block of gemm is deep
                                    {"values of width 1", 2, 1, 4, 1}};

/// Sequences around the row block (32) and the tile (32), and one longer than a block of gemm is deep.
const std::vector<int64_t> kOffsets = {0, 1, 32, 65, 65, 98};

at::Tensor reference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const std::vector<int64_t>& offsets, double scale) {
  const int64_t group = q.size(1) / k.size(1);
  Tensors outs;
  for (size_t b = 0; b + 1 < offsets.size(); ++b) {
    const int64_t from = offsets[b], t = offsets[b + 1] - from;
    const auto heads = [&](const at::Tensor& x, int64_t repeats) {
      return x.narrow(0, from, t).transpose(0, 1).repeat_interleave(repeats, 0);
    };
    const at::Tensor later = at::ones({t, t}, at::kBool).triu(1);
    const at::Tensor scores = at::matmul(heads(q, 1), heads(k, group).transpose(1, 2)) * scale;
    const at::Tensor p = at::softmax(scores.masked_fill(later, -std::numeric_limits<double>::infinity()), -1);
    outs.push_back(at::matmul(p, heads(v, group)).transpose(0, 1));
  }
  return at::cat(outs, 0);
}

OpCase attention_case(const Shape& s) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(s.key_width));
  const int64_t n = kOffsets.back();
  return {.name = s.name,
          .inputs = {random_tensor({n, s.heads, s.key_width}, 1), random_tensor({n, s.kv_heads, s.key_width}, 2),
                     random_tensor({n, s.kv_heads, s.value_width}, 3)},
          .forward = [=](const Tensors& in) { return Tensors{attention(in[0], in[1], in[2], kOffsets, scale)}; },
          .backward =
              [=](const Tensors& in, const Tensors& g) {
                const AttentionGrads grads = attention_backward(g[0], in[0], in[1], in[2], kOffsets, scale);
                return Tensors{grads.dq, grads.dk, grads.dv};
              },
          .reference = [=](const Tensors& in) { return Tensors{reference(in[0], in[1], in[2], kOffsets, scale)}; }};
}

std::vector<int64_t> range(int64_t begin, int64_t end) {
  std::vector<int64_t> out(static_cast<size_t>(end - begin));
  std::iota(out.begin(), out.end(), begin);
  return out;
}

}  // namespace

TEST_CASE("attention and its gradients equal the formula") {
  std::vector<OpCase> cases;
  for (const Shape& s : kShapes) cases.push_back(attention_case(s));
  test::check_ops(cases);
}

TEST_CASE("decoding gives the bits of the whole sequence, in any batch and any slot") {
  const Shape shape = GENERATE(from_range(kShapes));
  CAPTURE(shape.name);
  const int64_t length = 290;  // longer than a block of gemm is deep
  const double scale = 0.3;
  const at::Tensor q = random_tensor({2 * length, shape.heads, shape.key_width}, 1),
                   k = random_tensor({2 * length, shape.kv_heads, shape.key_width}, 2),
                   v = random_tensor({2 * length, shape.kv_heads, shape.value_width}, 3);
  const at::Tensor whole = attention(q, k, v, {0, length, 2 * length}, scale);
  LayerCache cache = make_layer_cache(3, shape.kv_heads, shape.key_width, shape.value_width, length);
  cache.keys.fill_(7.0f), cache.values.fill_(std::nanf(""));  // what an earlier sequence left must not matter
  bool equal = true;
  for (int64_t t = 0; t < length; ++t) {
    const at::Tensor rows = at::tensor(std::vector<int64_t>{length + t, t});  // the second sequence in slot 0, the first in slot 2
    const std::vector<int64_t> slots = {0, 2}, positions = {t, t};
    append_to_cache(cache, k.index_select(0, rows), v.index_select(0, rows), slots, positions);
    const at::Tensor both = attention_decode(q.index_select(0, rows), cache, slots, positions, scale);
    equal = equal && test::same_bits(both, whole.index_select(0, rows));
    if (t % 37 == 0) equal = equal && test::same_bits(attention_decode(q.narrow(0, t, 1), cache, {2}, {t}, scale), whole.narrow(0, t, 1));
  }
  CHECK(equal);
}

TEST_CASE("a copied slot continues like the original") {
  const int64_t length = 40;
  const at::Tensor q = random_tensor({1, 4, 8}, 1), k = random_tensor({length, 2, 8}, 2), v = random_tensor({length, 2, 6}, 3);
  LayerCache cache = make_layer_cache(3, 2, 8, 6, 64);
  append_to_cache(cache, k, v, std::vector<int64_t>(static_cast<size_t>(length), 1), range(0, length));
  copy_slot(cache, 1, 2, length);
  const at::Tensor original = attention_decode(q, cache, {1}, {length - 1}, 0.5);
  CHECK(test::same_bits(original, attention_decode(q, cache, {2}, {length - 1}, 0.5)));
  CHECK_FALSE(test::same_bits(original, attention_decode(q, cache, {0}, {length - 1}, 0.5)));
  append_to_cache(cache, k.narrow(0, 0, 1), v.narrow(0, 0, 1), {2}, {0});  // the copy is on its own
  CHECK(test::same_bits(original, attention_decode(q, cache, {1}, {length - 1}, 0.5)));
}

TEST_CASE("attention on slices of wider tensors equals attention on copies") {
  const at::Tensor wide = random_tensor({20, 4, 30}, 1);
  const at::Tensor q = wide.narrow(2, 0, 10), k = wide.narrow(1, 1, 2).narrow(2, 11, 10), v = wide.narrow(1, 2, 2).narrow(2, 22, 8);
  const auto copies = [](const at::Tensor& t) { return t.contiguous(); };
  CHECK(test::same_bits(attention(q, k, v, {0, 20}, 0.3), attention(copies(q), copies(k), copies(v), {0, 20}, 0.3)));
  const at::Tensor dout = random_tensor({20, 4, 8}, 2);
  const AttentionGrads a = attention_backward(dout, q, k, v, {0, 20}, 0.3),
                       b = attention_backward(dout, copies(q), copies(k), copies(v), {0, 20}, 0.3);
  CHECK(test::same_bits(a.dq, b.dq));
  CHECK(test::same_bits(a.dk, b.dk));
  CHECK(test::same_bits(a.dv, b.dv));
}

TEST_CASE("sequences of a batch do not see one another, to the bit") {
  const at::Tensor q = random_tensor({70, 4, 8}, 1), k = random_tensor({70, 2, 8}, 2), v = random_tensor({70, 2, 8}, 3),
                   dout = random_tensor({70, 4, 8}, 4);
  const std::vector<int64_t> offsets = {0, 5, 40, 70};
  const at::Tensor out = attention(q, k, v, offsets, 0.3);
  const AttentionGrads grads = attention_backward(dout, q, k, v, offsets, 0.3);
  for (size_t b = 0; b + 1 < offsets.size(); ++b) {
    const auto part = [&](const at::Tensor& t) { return t.narrow(0, offsets[b], offsets[b + 1] - offsets[b]); };
    const std::vector<int64_t> alone = {0, offsets[b + 1] - offsets[b]};
    CHECK(test::same_bits(part(out), attention(part(q), part(k), part(v), alone, 0.3)));
    const AttentionGrads g = attention_backward(part(dout), part(q), part(k), part(v), alone, 0.3);
    CHECK(test::same_bits(part(grads.dq), g.dq));
    CHECK(test::same_bits(part(grads.dk), g.dk));
    CHECK(test::same_bits(part(grads.dv), g.dv));
  }
}

TEST_CASE("a wrong call of attention is refused by name") {
  const at::Tensor q = random_tensor({4, 4, 8}, 1), k = random_tensor({4, 2, 8}, 2);
  CHECK_THROWS_WITH(attention(q, k.narrow(2, 0, 6), k, {0, 4}, 1.0), Catch::Contains("do not fit"));
  CHECK_THROWS_WITH(attention(q, k.narrow(0, 0, 3), k, {0, 4}, 1.0), Catch::Contains("do not fit"));
  CHECK_THROWS_WITH(attention(q, random_tensor({4, 3, 8}, 1), random_tensor({4, 3, 8}, 1), {0, 4}, 1.0), Catch::Contains("do not fit"));
  CHECK_THROWS_WITH(attention(q, k, k, {0, 3}, 1.0), Catch::Contains("attention: offsets: expected ascending from 0 to 4"));
  CHECK_THROWS_WITH(attention(q, k, k, {0, 3, 2, 4}, 1.0), Catch::Contains("offsets"));
  CHECK_THROWS_WITH(attention(q, k, k, {}, 1.0), Catch::Contains("offsets"));
  LayerCache cache = make_layer_cache(2, 2, 8, 8, 32);
  CHECK_THROWS_WITH(append_to_cache(cache, k, k, {0, 0, 0, 0}, {0, 1, 2, 32}), Catch::Contains("position 32 beyond capacity 32"));
  CHECK_THROWS_WITH(append_to_cache(cache, k, k, {0, 0, 0, 2}, {0, 1, 2, 3}), Catch::Contains("slot 2 of 2"));
  CHECK_THROWS_WITH(append_to_cache(cache, k, k, {0, 0, 0}, {0, 1, 2}), Catch::Contains("do not fit cache"));
  CHECK_THROWS_WITH(attention_decode(q, cache, {0}, {0}, 1.0), Catch::Contains("does not fit cache"));
}

}  // namespace cohort::kernels
