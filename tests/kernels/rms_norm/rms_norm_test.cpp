#include "kernels/rms_norm/rms_norm.h"

#include "tests/kernels/op_case.h"

namespace cohort::kernels {
namespace {

using test::OpCase;
using test::random_tensor;
using test::Tensors;

OpCase norm_case(const char* name, int64_t n, int64_t d, double scale, double eps) {
  return {.name = name,
          .inputs = {random_tensor({n, d}, 1) * scale, random_tensor({d}, 2)},
          .forward = [eps](const Tensors& in) { return Tensors{kernels::rms_norm(in[0], in[1], eps).first}; },
          .backward =
              [eps](const Tensors& in, const Tensors& g) {
                const at::Tensor dw = at::zeros_like(in[1]);
                const at::Tensor dx = rms_norm_backward(g[0], in[0], in[1], kernels::rms_norm(in[0], in[1], eps).second, dw);
                return Tensors{dx, dw};
              },
          .reference = [eps](const Tensors& in) { return Tensors{in[0] * at::rsqrt(in[0].square().mean(-1, true) + eps) * in[1]}; }};
}

}  // namespace

TEST_CASE("RMSNorm and its gradients equal the formula") {
  test::check_ops({norm_case("rms_norm", 7, 100, 1.0, 1e-6), norm_case("one column", 5, 1, 1.0, 0.5),
                   norm_case("large eps", 3, 33, 0.1, 0.05), norm_case("small values", 4, 16, 1e-4, 1e-6)});
}

TEST_CASE("RMSNorm of rows inside a wider tensor equals that of a copy") {
  const at::Tensor wide = random_tensor({6, 50}, 1), w = random_tensor({20}, 2);
  const at::Tensor slice = wide.narrow(1, 17, 20);
  CHECK(test::same_bits(kernels::rms_norm(slice, w, 1e-6).first, kernels::rms_norm(slice.contiguous(), w, 1e-6).first));
  const at::Tensor dy = random_tensor({6, 20}, 3), inverse_rms = kernels::rms_norm(slice, w, 1e-6).second;
  const at::Tensor dw = at::zeros_like(w), dw_of_copy = at::zeros_like(w);
  CHECK(test::same_bits(rms_norm_backward(dy, slice, w, inverse_rms, dw),
                        rms_norm_backward(dy, slice.contiguous(), w, inverse_rms, dw_of_copy)));
  CHECK(test::same_bits(dw, dw_of_copy));
}

TEST_CASE("RMSNorm adds to the weight's gradient, and rows in several calls give the bits of one") {
  const at::Tensor x = random_tensor({12, 20}, 1), w = random_tensor({20}, 2), dy = random_tensor({12, 20}, 3);
  const at::Tensor inverse_rms = kernels::rms_norm(x, w, 1e-6).second;
  const at::Tensor whole = random_tensor({20}, 4), parts = whole.clone();
  rms_norm_backward(dy, x, w, inverse_rms, whole);
  rms_norm_backward(dy.narrow(0, 0, 5), x.narrow(0, 0, 5), w, inverse_rms.narrow(0, 0, 5), parts);
  rms_norm_backward(dy.narrow(0, 5, 7), x.narrow(0, 5, 7), w, inverse_rms.narrow(0, 5, 7), parts);
  CHECK(test::same_bits(whole, parts));
}

TEST_CASE("a wrong call of RMSNorm is refused by name") {
  CHECK_THROWS_WITH(kernels::rms_norm(random_tensor({2, 3}, 1), random_tensor({4}, 2), 1e-6),
                    Catch::Contains("rms_norm: x [2, 3] does not fit weight [4]"));
}

}  // namespace cohort::kernels
