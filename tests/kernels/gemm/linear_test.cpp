#include "kernels/gemm/linear.h"

#include "tests/kernels/op_case.h"

namespace cohort::kernels {
namespace {

using test::OpCase;
using test::random_tensor;
using test::Tensors;

std::vector<OpCase> cases() {
  return {
      {.name = "linear",
       .inputs = {random_tensor({11, 37}, 1), random_tensor({45, 37}, 2)},
       .forward = [](const Tensors& in) { return Tensors{kernels::linear(in[0], in[1], {})}; },
       .backward =
           [](const Tensors& in, const Tensors& g) {
             const at::Tensor dw = at::zeros_like(in[1]);
             linear_backward_weight(g[0], in[0], dw, {});
             return Tensors{linear_backward_input(g[0], in[1]), dw};
           },
       .reference = [](const Tensors& in) { return Tensors{at::matmul(in[0], in[1].t())}; }},
      {.name = "linear with bias",
       .inputs = {random_tensor({300, 5}, 1), random_tensor({3, 5}, 2), random_tensor({3}, 3)},
       .forward = [](const Tensors& in) { return Tensors{kernels::linear(in[0], in[1], in[2])}; },
       .backward =
           [](const Tensors& in, const Tensors& g) {
             const at::Tensor dw = at::zeros_like(in[1]), db = at::zeros_like(in[2]);
             linear_backward_weight(g[0], in[0], dw, db);
             return Tensors{linear_backward_input(g[0], in[1]), dw, db};
           },
       .reference = [](const Tensors& in) { return Tensors{at::matmul(in[0], in[1].t()) + in[2]}; }},
      {.name = "linear per head",
       .inputs = {random_tensor({9, 3, 20}, 1), random_tensor({3, 7, 20}, 2)},
       .forward = [](const Tensors& in) { return Tensors{linear_per_head(in[0], in[1])}; },
       .backward =
           [](const Tensors& in, const Tensors& g) {
             const at::Tensor dw = at::zeros_like(in[1]);
             linear_per_head_backward_weight(g[0], in[0], dw);
             return Tensors{linear_per_head_backward_input(g[0], in[1]), dw};
           },
       .reference =
           [](const Tensors& in) {
             return Tensors{at::einsum("nhk,hok->nho", {in[0], in[1]})};
           }},
      {.name = "linear per head from the other side",  // weight [3, 20, 7], used as a view [3, 7, 20] with contiguous columns
       .inputs = {random_tensor({9, 3, 20}, 1), random_tensor({3, 20, 7}, 2)},
       .forward = [](const Tensors& in) { return Tensors{linear_per_head(in[0], in[1].transpose(1, 2))}; },
       .backward =
           [](const Tensors& in, const Tensors& g) {
             const at::Tensor dw = at::zeros_like(in[1]);
             linear_per_head_backward_weight(g[0], in[0], dw.transpose(1, 2));
             return Tensors{linear_per_head_backward_input(g[0], in[1].transpose(1, 2)), dw};
           },
       .reference =
           [](const Tensors& in) {
             return Tensors{at::einsum("nhk,hko->nho", {in[0], in[1]})};
           }},
      {.name = "linear per head on slices",  // of a wider projection, as MLA calls it
       .inputs = {random_tensor({6, 2, 15}, 1), random_tensor({2, 12, 10}, 2)},
       .forward = [](const Tensors& in) { return Tensors{linear_per_head(in[0].narrow(2, 5, 10), in[1].narrow(1, 4, 8))}; },
       .backward =
           [](const Tensors& in, const Tensors& g) {
             const at::Tensor dw = at::zeros_like(in[1]), dx = at::zeros_like(in[0]);
             linear_per_head_backward_weight(g[0], in[0].narrow(2, 5, 10), dw.narrow(1, 4, 8));
             dx.narrow(2, 5, 10).copy_(linear_per_head_backward_input(g[0], in[1].narrow(1, 4, 8)));
             return Tensors{dx, dw};
           },
       .reference =
           [](const Tensors& in) {
             return Tensors{at::einsum("nhk,hok->nho", {in[0].narrow(2, 5, 10), in[1].narrow(1, 4, 8)})};
           }},
  };
}

}  // namespace

TEST_CASE("linear and its gradients equal the formula") { test::check_ops(cases()); }

TEST_CASE("weight gradients are added, and rows in several calls give the bits of one") {
  const at::Tensor x = random_tensor({50, 13}, 1), dy = random_tensor({50, 9}, 2);
  at::Tensor weight = random_tensor({9, 13}, 3), bias = random_tensor({9}, 4);
  const at::Tensor weight_parts = weight.clone(), bias_parts = bias.clone(), before = weight.clone();
  linear_backward_weight(dy, x, weight, bias);
  for (const auto& [begin, rows] : {std::pair<int64_t, int64_t>{0, 1}, {1, 30}, {31, 19}})
    linear_backward_weight(dy.narrow(0, begin, rows), x.narrow(0, begin, rows), weight_parts, bias_parts);
  CHECK(test::same_bits(weight, weight_parts));
  CHECK(test::same_bits(bias, bias_parts));
  CHECK(test::relative_error(weight - before, at::matmul(dy.t(), x)) <= 1e-5);
}

TEST_CASE("so are the weight gradients per head, in both directions") {
  const at::Tensor x = random_tensor({20, 2, 6}, 1), dy = random_tensor({20, 2, 5}, 2);
  for (const bool transposed : {false, true}) {
    CAPTURE(transposed);
    const at::Tensor whole = random_tensor({2, transposed ? 6 : 5, transposed ? 5 : 6}, 3), parts = whole.clone(), before = whole.clone();
    const auto seen = [&](const at::Tensor& t) { return transposed ? t.transpose(1, 2) : t; };
    linear_per_head_backward_weight(dy, x, seen(whole));
    linear_per_head_backward_weight(dy.narrow(0, 0, 7), x.narrow(0, 0, 7), seen(parts));
    linear_per_head_backward_weight(dy.narrow(0, 7, 13), x.narrow(0, 7, 13), seen(parts));
    CHECK(test::same_bits(whole, parts));
    CHECK(test::relative_error(seen(whole - before), at::einsum("nho,nhk->hok", {dy, x})) <= 1e-5);
  }
}

TEST_CASE("a row of linear has the same bits alone and in a batch") {
  const at::Tensor x = random_tensor({23, 64}, 1), w = random_tensor({48, 64}, 2), b = random_tensor({48}, 3);
  const at::Tensor together = kernels::linear(x, w, b);
  for (int64_t i = 0; i < 23; ++i) CHECK(test::same_bits(kernels::linear(x.narrow(0, i, 1), w, b), together.narrow(0, i, 1)));
}

TEST_CASE("a wrong call of linear is refused by name") {
  const at::Tensor x = random_tensor({2, 3}, 1);
  CHECK_THROWS_WITH(kernels::linear(x, random_tensor({4, 5}, 2), {}), Catch::Contains("linear: x [2, 3] does not fit weight [4, 5]"));
  CHECK_THROWS_WITH(kernels::linear(x.to(at::kDouble), random_tensor({4, 3}, 2), {}),
                    Catch::Contains("linear: x: expected a contiguous fp32 CPU tensor"));
  CHECK_THROWS_WITH(kernels::linear(x.t(), random_tensor({4, 2}, 2), {}), Catch::Contains("linear: x"));
  CHECK_THROWS_WITH(linear_per_head(random_tensor({2, 3, 4}, 1), random_tensor({2, 5, 4}, 2)), Catch::Contains("does not fit weight"));
}

}  // namespace cohort::kernels
