#include "core/rl/aggregation.h"

#include "core/base/error.h"
#include "tests/core/rl/rl_fixture.h"

using namespace cohort;
using namespace cohort::rl;
using cohort::test::tensor;

namespace {

AggregationScale scale_of(const at::Tensor& keep, const Packing& packing) {
  AggregationScale scale;
  scale.add(keep, packing);
  scale.max_response_length = 10;
  return scale;
}

}  // namespace

TEST_CASE("each aggregation by hand", "[rl]") {
  const Packing packing = Packing::from_lengths({1, 3});
  const at::Tensor loss = tensor(std::vector<double>{4, 1, 2, 3});
  const at::Tensor keep = at::ones({4}, at::kDouble);
  const AggregationScale scale = scale_of(keep, packing);
  const std::map<std::string, double> expected = {{"token-mean", 10.0 / 4},         {"seq-mean-token-mean", (4.0 + 2.0) / 2},
                                                  {"seq-mean-token-sum", 10.0 / 2}, {"seq-mean-token-sum-norm", 10.0 / 20},
                                                  {"dr_grpo", 10.0 / 20},           {"bnpo", 10.0 / 4}};
  CHECK(expected.size() == aggregation_modes().size());
  for (const std::string& mode : aggregation_modes()) {
    INFO(mode);
    CHECK(aggregate(loss, keep, packing, mode, scale).item<double>() == Approx(expected.at(mode)).epsilon(1e-12));
  }
}

TEST_CASE("tokens that are not kept count nowhere", "[rl]") {
  const Packing packing = Packing::from_lengths({2, 2, 3});
  const at::Tensor loss = tensor(std::vector<double>{1, 2, 100, 100, 3, 100, 6});
  const at::Tensor keep = tensor(std::vector<double>{1, 1, 0, 0, 1, 0, 1});
  const AggregationScale scale = scale_of(keep, packing);
  CHECK(scale.global_tokens == 4);
  CHECK(scale.global_sequences == 2);
  CHECK(aggregate(loss, keep, packing, "token-mean", scale).item<double>() == Approx(3.0));
  CHECK(aggregate(loss, keep, packing, "seq-mean-token-mean", scale).item<double>() == Approx((1.5 + 4.5) / 2));
  CHECK(aggregate(loss, keep, packing, "seq-mean-token-sum", scale).item<double>() == Approx(6.0));
}

TEST_CASE("the gradient of a token is its weight", "[rl]") {
  const Packing packing = Packing::from_lengths({1, 3});
  const at::Tensor keep = at::ones({4}, at::kFloat);
  const AggregationScale scale = scale_of(keep, packing);
  for (const std::string& mode : aggregation_modes()) {
    const at::Tensor loss = at::arange(4, at::kFloat).requires_grad_(true);
    const at::Tensor grad = test::gradient(aggregate(loss, keep, packing, mode, scale), loss);
    INFO(mode);
    CHECK(at::equal(grad, token_weights(keep, packing, mode, scale)));
  }
}

TEST_CASE("aggregation refuses unknown modes and missing normalisers", "[rl]") {
  const Packing packing = test::one_answer(2);
  const at::Tensor keep = at::ones({2}, at::kFloat);
  CHECK_THROWS_AS(token_weights(keep, packing, "mean", scale_of(keep, packing)), Fault);
  for (const std::string mode : {"token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "dr_grpo"}) {
    INFO(mode);
    CHECK_THROWS_AS(token_weights(keep, packing, mode, AggregationScale{}), Fault);
  }
}
