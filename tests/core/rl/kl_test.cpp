#include "core/rl/kl.h"

#include "core/base/error.h"
#include "tests/core/rl/rl_fixture.h"

using namespace cohort;
using namespace cohort::rl;
using cohort::test::tensor;

TEST_CASE("KL estimators by hand", "[rl]") {
  const at::Tensor x = tensor(std::vector<double>{0.1, -0.1});
  const at::Tensor zero = at::zeros({2}, at::kDouble);
  CHECK(test::largest_difference(kl_estimate(zero, x, "k3"), tensor(std::vector<double>{0.00517092, 0.00483742})) < 1e-8);
  CHECK(test::largest_difference(kl_estimate(zero, x, "k2"), tensor(std::vector<double>{0.005, 0.005})) < 1e-12);
  CHECK(test::largest_difference(kl_estimate(zero, x, "k1"), -x) < 1e-12);
  CHECK_THROWS_AS(kl_estimate(zero, x, "k4"), Fault);
}

TEST_CASE("KL estimators and their gradients equal verl's", "[rl][golden]") {
  const auto golden = test::load_golden("kl.json");
  CHECK(golden["cases"].size() == kl_types().size());
  for (const auto dtype : {at::kDouble, at::kFloat}) {
    for (const auto& item : golden["cases"]) {
      INFO(item["name"]);
      const at::Tensor logprob = tensor(golden["logprob"], dtype).requires_grad_(true);
      const at::Tensor kl = kl_estimate(logprob, tensor(golden["ref"], dtype), item["name"].get<std::string>());
      const double slack = dtype == at::kDouble ? 1e-9 : 1e-6 * std::max(1.0, kl.abs().max().item<double>());
      CHECK(test::largest_difference(kl.detach(), tensor(item["tokens"])) < slack);
      const at::Tensor grad = test::gradient(kl.sum(), logprob);
      const double steepest = grad.abs().max().item<double>();
      CHECK(test::largest_difference(grad, tensor(item["grad"])) < (dtype == at::kDouble ? 1e-9 : 1e-6 * std::max(1.0, steepest)));
    }
  }
}

TEST_CASE("the off-policy weight multiplies the KL and carries gradient", "[rl]") {
  const at::Tensor logprob = tensor(std::vector<double>{-1.0}).requires_grad_(true);
  const at::Tensor old = tensor(std::vector<double>{-1.5});
  const at::Tensor kl = off_policy_kl(kl_estimate(logprob, tensor(std::vector<double>{-0.8}), "k1"), logprob, old);
  CHECK(kl.item<double>() == Approx(-0.2 * std::exp(0.5)));
  // d/dlogp [k1 · ρ] = ρ + k1 · ρ
  CHECK(test::gradient(kl.sum(), logprob).item<double>() == Approx((1.0 - 0.2) * std::exp(0.5)));
}
