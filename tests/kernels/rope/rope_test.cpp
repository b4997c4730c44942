#include "kernels/rope/rope.h"

#include "tests/kernels/op_case.h"

namespace cohort::kernels {
namespace {

using test::OpCase;
using test::random_tensor;
using test::Tensors;

/// cos and sin of position · 10^(-i/2), [P, half].
std::pair<at::Tensor, at::Tensor> table(int64_t positions, int64_t half) {
  const at::Tensor angle = at::arange(positions, at::kDouble).unsqueeze(1) * at::pow(10.0, -0.5 * at::arange(half, at::kDouble));
  return {angle.cos().to(at::kFloat), angle.sin().to(at::kFloat)};
}

/// x as complex numbers, one per pair, times e^(i·angle).
at::Tensor rotated(const at::Tensor& x, const at::Tensor& positions, const at::Tensor& cosine, const at::Tensor& sine, RopeLayout layout) {
  const int64_t half = x.size(2) / 2;
  const at::Tensor c = cosine.to(at::kDouble).index_select(0, positions).unsqueeze(1),
                   s = sine.to(at::kDouble).index_select(0, positions).unsqueeze(1);
  if (layout == RopeLayout::kHalves) {
    const at::Tensor first = x.narrow(2, 0, half), second = x.narrow(2, half, half);
    return at::cat({first * c - second * s, second * c + first * s}, 2);
  }
  const at::Tensor pairs = x.reshape({x.size(0), x.size(1), half, 2}), first = pairs.select(3, 0), second = pairs.select(3, 1);
  return at::stack({first * c - second * s, second * c + first * s}, 3).reshape(x.sizes());
}

OpCase rope_case(const char* name, RopeLayout layout) {
  const auto [cosine, sine] = table(9, 5);
  const at::Tensor positions = at::tensor(std::vector<int64_t>{0, 1, 2, 8, 0, 5});
  return {.name = name,
          .inputs = {random_tensor({6, 3, 10}, 1)},
          .forward = [=](const Tensors& in) { return Tensors{rope(in[0], positions, cosine, sine, layout, 1.0f)}; },
          .backward = [=](const Tensors&, const Tensors& g) { return Tensors{rope(g[0], positions, cosine, sine, layout, -1.0f)}; },
          .reference = [=](const Tensors& in) { return Tensors{rotated(in[0], positions, cosine, sine, layout)}; }};
}

}  // namespace

TEST_CASE("rope and its gradient equal the formula in both layouts") {
  test::check_ops({rope_case("halves", RopeLayout::kHalves), rope_case("pairs", RopeLayout::kPairs)});
}

TEST_CASE("rope leaves its argument alone and takes slices") {
  const auto [cosine, sine] = table(4, 3);
  const at::Tensor wide = random_tensor({4, 2, 11}, 1), before = wide.clone(), slice = wide.narrow(2, 5, 6), positions = at::arange(4);
  const at::Tensor turned = rope(slice, positions, cosine, sine, RopeLayout::kPairs, 1.0f);
  CHECK(test::same_bits(turned, rope(slice.contiguous(), positions, cosine, sine, RopeLayout::kPairs, 1.0f)));
  CHECK(test::same_bits(wide, before));
  CHECK(test::same_bits(turned[0], slice[0]));  // position 0
}

TEST_CASE("scores depend on the distance of positions alone") {
  const auto [cosine, sine] = table(64, 4);
  const at::Tensor q = random_tensor({1, 1, 8}, 1), k = random_tensor({1, 1, 8}, 2);
  const auto score = [&](int64_t q_at, int64_t k_at, RopeLayout layout) {
    const at::Tensor a = rope(q, at::tensor(std::vector<int64_t>{q_at}), cosine, sine, layout, 1.0f);
    const at::Tensor b = rope(k, at::tensor(std::vector<int64_t>{k_at}), cosine, sine, layout, 1.0f);
    return (a * b).sum().item<double>();
  };
  for (const RopeLayout layout : {RopeLayout::kHalves, RopeLayout::kPairs}) {
    CHECK(score(9, 4, layout) == Approx(score(63, 58, layout)).epsilon(1e-4));
    CHECK(std::abs(score(9, 4, layout) - score(9, 5, layout)) > 1e-2);
  }
}

TEST_CASE("a wrong call of rope is refused by name") {
  const auto [cosine, sine] = table(4, 3);
  const auto call = [&, c = cosine, s = sine](at::IntArrayRef shape, int64_t position) {
    return rope(random_tensor(shape, 1), at::full({shape[0]}, position, at::kLong), c, s, RopeLayout::kHalves, 1.0f);
  };
  CHECK_THROWS_WITH(call({2, 1, 6}, 4), Catch::Contains("rope: position 4 outside the table of 4"));
  CHECK_THROWS_WITH(call({2, 1, 6}, -1), Catch::Contains("rope: position -1"));
  CHECK_THROWS_WITH(call({2, 1, 8}, 0), Catch::Contains("does not fit cosine"));
}

}  // namespace cohort::kernels
