#include "kernels/moe_experts/moe_experts.h"

#include "tests/kernels/op_case.h"

namespace cohort::kernels {
namespace {

using test::random_ids;
using test::random_tensor;
using test::Tensors;

constexpr int64_t kExperts = 5, kWidth = 12, kInner = 9;

ExpertWeights random_weights(uint64_t seed) {
  return {random_tensor({kExperts, kInner, kWidth}, seed), random_tensor({kExperts, kInner, kWidth}, seed + 1),
          random_tensor({kExperts, kWidth, kInner}, seed + 2)};
}

ExpertWeights copy_of(const ExpertWeights& w) { return {w.gate.clone(), w.up.clone(), w.down.clone()}; }

/// Every expert on every token, then the chosen ones.
at::Tensor reference(const at::Tensor& x, const at::Tensor& experts, const at::Tensor& weights, const at::Tensor& gate,
                     const at::Tensor& up, const at::Tensor& down) {
  const at::Tensor hidden = at::silu(at::einsum("nd,eid->nei", {x, gate})) * at::einsum("nd,eid->nei", {x, up});
  const at::Tensor all = at::einsum("nei,edi->ned", {hidden, down});
  const at::Tensor mine = all.gather(1, experts.unsqueeze(-1).expand({-1, -1, x.size(1)}));
  return (mine * weights.unsqueeze(-1)).sum(1);
}

test::OpCase experts_case(const char* name, int64_t n, int64_t k, int64_t visited) {
  return {.name = name,
          .inputs = {random_tensor({n, kWidth}, 1), random_ids({n, k}, visited, 2), random_tensor({n, k}, 3), random_weights(4).gate,
                     random_weights(4).up, random_weights(4).down},
          .forward =
              [](const Tensors& in) {
                return Tensors{moe_experts(in[0], in[1], in[2], {in[3], in[4], in[5]}, nullptr)};
              },
          .backward =
              [](const Tensors& in, const Tensors& g) {
                const ExpertWeights w{in[3], in[4], in[5]}, grads{at::zeros_like(in[3]), at::zeros_like(in[4]), at::zeros_like(in[5])};
                ExpertTape tape;
                moe_experts(in[0], in[1], in[2], w, &tape);
                const ExpertGrads out = moe_experts_backward(g[0], in[2], w, tape, grads);
                return Tensors{out.dx, out.dweights, grads.gate, grads.up, grads.down};
              },
          .reference = [](const Tensors& in) { return Tensors{reference(in[0], in[1], in[2], in[3], in[4], in[5])}; }};
}

}  // namespace

TEST_CASE("the mixture of experts and its gradients equal the formula") {
  test::check_ops({experts_case("two of five", 30, 2, kExperts), experts_case("one token", 1, 3, kExperts),
                   experts_case("experts without tokens", 8, 1, 2)});
}

TEST_CASE("the tape changes no bit, and a token's result does not depend on the others") {
  const at::Tensor x = random_tensor({20, kWidth}, 1), experts = random_ids({20, 2}, kExperts, 2), weights = random_tensor({20, 2}, 3);
  const ExpertWeights w = random_weights(4);
  ExpertTape tape;
  const at::Tensor together = moe_experts(x, experts, weights, w, nullptr);
  CHECK(test::same_bits(together, moe_experts(x, experts, weights, w, &tape)));
  for (int64_t i = 0; i < 20; ++i)
    CHECK(test::same_bits(together.narrow(0, i, 1),
                          moe_experts(x.narrow(0, i, 1), experts.narrow(0, i, 1), weights.narrow(0, i, 1), w, nullptr)));
}

TEST_CASE("weight gradients of the experts are added, and tokens in several calls give the bits of one") {
  const at::Tensor x = random_tensor({20, kWidth}, 1), experts = random_ids({20, 2}, kExperts, 2), weights = random_tensor({20, 2}, 3);
  const at::Tensor dy = random_tensor({20, kWidth}, 7);
  const ExpertWeights w = random_weights(4), whole = random_weights(10), parts = copy_of(whole);
  const auto run = [&](int64_t begin, int64_t count, const ExpertWeights& grads) {
    const auto rows = [&](const at::Tensor& t) { return t.narrow(0, begin, count); };
    ExpertTape tape;
    moe_experts(rows(x), rows(experts), rows(weights), w, &tape);
    return moe_experts_backward(rows(dy), rows(weights), w, tape, grads);
  };
  const ExpertGrads all = run(0, 20, whole), first = run(0, 13, parts), second = run(13, 7, parts);
  CHECK(test::same_bits(whole.gate, parts.gate));
  CHECK(test::same_bits(whole.up, parts.up));
  CHECK(test::same_bits(whole.down, parts.down));
  CHECK(test::same_bits(all.dx, at::cat({first.dx, second.dx})));
  CHECK(test::same_bits(all.dweights, at::cat({first.dweights, second.dweights})));
}

TEST_CASE("an expert that does not exist is refused") {
  const at::Tensor x = random_tensor({1, kWidth}, 1), weights = random_tensor({1, 1}, 2);
  for (const int64_t expert : {kExperts, int64_t{-1}})
    CHECK_THROWS_WITH(moe_experts(x, at::full({1, 1}, expert, at::kLong), weights, random_weights(4), nullptr),
                      Catch::Contains("moe_experts: expert " + std::to_string(expert) + " of 5"));
}

}  // namespace cohort::kernels
