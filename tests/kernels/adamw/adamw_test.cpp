// Against the published formula in double; core/train/optimizer_test.cpp compares with torch.optim.AdamW.
#include "kernels/adamw/adamw.h"

#include <cmath>

#include "tests/kernels/op_case.h"

namespace cohort::kernels {
namespace {

using test::random_tensor;

struct State {
  at::Tensor values, m, v;
};

State start(at::ScalarType type) { return {random_tensor({37}, 1).to(type), at::zeros({37}, type), at::zeros({37}, type)}; }

/// Algorithm 2 of the paper, with eps after the bias-corrected root.
void formula(State& s, const at::Tensor& grad, int64_t step, double grad_scale, const AdamWOptions& o) {
  const at::Tensor g = grad.to(at::kDouble) * grad_scale;
  s.m = o.beta1 * s.m + (1.0 - o.beta1) * g;
  s.v = o.beta2 * s.v + (1.0 - o.beta2) * g.square();
  const at::Tensor m_hat = s.m / (1.0 - std::pow(o.beta1, step)), v_hat = s.v / (1.0 - std::pow(o.beta2, step));
  s.values = s.values * (1.0 - o.lr * o.weight_decay) - o.lr * m_hat / (v_hat.sqrt() + o.eps);
}

}  // namespace

TEST_CASE("AdamW follows the formula") {
  struct Settings {
    AdamWOptions options;
    double grad_scale, tolerance;
  };
  const std::vector<Settings> settings = {{{.lr = 1e-2, .beta1 = 0.9, .beta2 = 0.95, .weight_decay = 0.1}, 1.0, 1e-6},
                                          {{.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-2}, 0.3, 1e-6},
                                          {{.lr = 0.1, .beta1 = 0.0, .beta2 = 0.5}, 1.0, 1e-6},
                                          {{.lr = 1e-2, .beta1 = 0.9, .beta2 = 0.999}, 1.0, 2e-5}};  // 1 - beta2 is taken in fp32
  for (const auto& [options, grad_scale, tolerance] : settings) {
    CAPTURE(options.lr, options.beta2, grad_scale);
    State got = start(at::kFloat), want = start(at::kDouble);
    for (int64_t step = 1; step <= 12; ++step) {
      const at::Tensor grad = random_tensor({37}, 100 + static_cast<uint64_t>(step));
      adamw(got.values, grad, got.m, got.v, step, grad_scale, options);
      formula(want, grad, step, grad_scale, options);
    }
    CHECK(test::relative_error(got.values, want.values) <= 1e-6);
    CHECK(test::relative_error(got.m, want.m) <= 1e-6);
    CHECK(test::relative_error(got.v, want.v) <= tolerance);
  }
}

TEST_CASE("AdamW on slices of a flat tensor equals AdamW on the whole, to the bit") {
  State whole = start(at::kFloat), parts = start(at::kFloat);
  const at::Tensor grad = random_tensor({37}, 5);
  adamw(whole.values, grad, whole.m, whole.v, 3, 0.7, {});
  for (const auto& [begin, count] : {std::pair<int64_t, int64_t>{0, 11}, {11, 26}})
    adamw(parts.values.narrow(0, begin, count), grad.narrow(0, begin, count), parts.m.narrow(0, begin, count),
          parts.v.narrow(0, begin, count), 3, 0.7, {});
  CHECK(test::same_bits(whole.values, parts.values));
  CHECK(test::same_bits(whole.m, parts.m));
  CHECK(test::same_bits(whole.v, parts.v));
}

TEST_CASE("the sum of squares is taken in double") {
  at::Tensor x = at::full({100'000}, 1e-3f);
  x[0] = 1e4f;
  const double small = static_cast<double>(1e-3f);
  CHECK(sum_of_squares(x) == Approx(1e8 + 99'999 * small * small).epsilon(1e-11));  // fp32 would lose all of the small ones
  CHECK(sum_of_squares(at::zeros({0})) == 0.0);
}

TEST_CASE("a wrong call of AdamW is refused by name") {
  const at::Tensor x = random_tensor({4}, 1);
  CHECK_THROWS_WITH(adamw(x, x.to(at::kDouble), x, x, 1, 1.0, {}), Catch::Contains("adamw: state: expected a contiguous fp32"));
  CHECK_THROWS_WITH(adamw(x, random_tensor({5}, 1), x, x, 1, 1.0, {}), Catch::Contains("adamw: expected tensors of one length"));
}

}  // namespace cohort::kernels
