#include "kernels/swiglu/swiglu.h"

#include "tests/kernels/op_case.h"

namespace cohort::kernels {
namespace {

using test::random_tensor;
using test::Tensors;

test::OpCase swiglu_case(const char* name, double scale) {
  return {.name = name,
          .inputs = {random_tensor({9, 37}, 1) * scale, random_tensor({9, 37}, 2)},
          .forward = [](const Tensors& in) { return Tensors{swiglu(in[0], in[1])}; },
          .backward =
              [](const Tensors& in, const Tensors& g) {
                const auto [dgate, dup] = swiglu_backward(g[0], in[0], in[1]);
                return Tensors{dgate, dup};
              },
          .reference = [](const Tensors& in) { return Tensors{at::silu(in[0]) * in[1]}; }};
}

}  // namespace

TEST_CASE("SwiGLU and its gradients equal the formula") {
  test::check_ops({swiglu_case("swiglu", 1.0), swiglu_case("saturated gates", 30.0), swiglu_case("small gates", 1e-3)});
}

TEST_CASE("a wrong call of SwiGLU is refused by name") {
  CHECK_THROWS_WITH(swiglu(random_tensor({2, 3}, 1), random_tensor({2, 4}, 2)), Catch::Contains("swiglu: gate [2, 3], up [2, 4]"));
  CHECK_THROWS_WITH(swiglu(random_tensor({2, 3}, 1), random_tensor({3, 2}, 2).t()), Catch::Contains("swiglu: up: expected a contiguous"));
}

}  // namespace cohort::kernels
