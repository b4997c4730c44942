#include "kernels/moe_route/moe_route.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/base/file.h"
#include "core/base/json.h"
#include "tests/kernels/op_case.h"
#include "tests/support/golden.h"

namespace cohort::kernels {
namespace {

using nlohmann::json;
using test::OpCase;
using test::random_tensor;
using test::Tensors;

at::Tensor matrix(const json& rows) {
  const auto values = rows.get<std::vector<std::vector<float>>>();
  Tensors out;
  for (const auto& row : values) out.push_back(at::tensor(row));
  return at::stack(out);
}

RouteOptions options_of(const json& c) {
  RouteOptions o;
  o.top_k = c["top_k"], o.norm_topk_prob = c["norm_topk_prob"], o.softmax = c["scoring"] == "softmax";
  o.groups = c.value("groups", 1), o.topk_group = c.value("topk_group", 1), o.scaling_factor = c.value("routed_scaling_factor", 1.0);
  return o;
}

/// Chosen experts of a row in ascending order with their weights: the references leave the order open.
std::vector<std::pair<int64_t, float>> chosen(const Route& r, int64_t row) {
  std::vector<std::pair<int64_t, float>> out;
  for (int64_t slot = 0; slot < r.experts_NK.size(1); ++slot)
    out.emplace_back(r.experts_NK[row][slot].item<int64_t>(), r.weights_NK[row][slot].item<float>());
  std::sort(out.begin(), out.end());
  return out;
}

struct Settings {
  const char* name;
  RouteOptions options;
  bool biased;
};
const std::vector<Settings> kSettings = {
    {"groups and bias", {.top_k = 3, .groups = 4, .topk_group = 2, .scaling_factor = 2.5}, true},
    {"not normalised", {.top_k = 2, .norm_topk_prob = false, .scaling_factor = 1.7}, true},
    {"softmax", {.top_k = 3, .softmax = true}, false},
    {"softmax with groups, not normalised",
     {.top_k = 2, .groups = 2, .topk_group = 1, .softmax = true, .norm_topk_prob = false, .scaling_factor = 16.0},
     false},
    {"all experts", {.top_k = 8}, false}};

at::Tensor bias_of(const Settings& s) { return s.biased ? random_tensor({8}, 2) * 0.3 : at::Tensor(); }

/// Weights and scores as functions of the logits; the selection is the op's own and carries no gradient.
OpCase route_case(const Settings& s) {
  const RouteOptions o = s.options;
  const at::Tensor logits = random_tensor({10, 8}, 1), bias = bias_of(s);
  const at::Tensor experts = moe_route(logits, bias, o).experts_NK;
  return {.name = s.name,
          .inputs = {logits},
          .forward =
              [=](const Tensors& in) {
                const Route r = moe_route(in[0], bias, o);
                return Tensors{r.weights_NK, r.scores_NE};
              },
          .backward =
              [=](const Tensors& in, const Tensors& g) {
                const Route r = moe_route(in[0], bias, o);
                return Tensors{moe_route_backward(g[0], g[1], r.experts_NK, r.scores_NE, o)};
              },
          .reference =
              [=](const Tensors& in) {
                const at::Tensor scores = o.softmax ? at::softmax(in[0], -1) : at::sigmoid(in[0]);
                at::Tensor weights = scores.gather(1, experts);
                if (o.norm_topk_prob) weights = weights / weights.sum(-1, true);
                return Tensors{weights * o.scaling_factor, scores};
              }};
}

}  // namespace

TEST_CASE("experts, weights and scores equal those of the published routers") {
  const std::string path = cohort::test::golden_path("model/router.json");
  const json golden = parse_json(read_file(path, 1 << 20), path);
  for (const auto& [name, c] : golden.items()) {
    CAPTURE(name);
    const Route r =
        moe_route(matrix(c["logits"]), c.contains("bias") ? at::tensor(c["bias"].get<std::vector<float>>()) : at::Tensor(), options_of(c));
    CHECK(test::relative_error(r.scores_NE, matrix(c["scores"])) <= 1e-6);
    for (size_t row = 0; row < c["indices"].size(); ++row) {
      CAPTURE(row);
      const auto got = chosen(r, static_cast<int64_t>(row));
      REQUIRE(got.size() == c["indices"][row].size());
      for (size_t slot = 0; slot < got.size(); ++slot) {
        CHECK(got[slot].first == c["indices"][row][slot].get<int64_t>());
        CHECK(got[slot].second == Approx(c["weights"][row][slot].get<double>()).epsilon(1e-6));
      }
    }
  }
  CHECK(golden.contains("negative_choice"));  // chosen experts with a biased score below 0: masked groups are -inf, not 0
}

TEST_CASE("weights, scores and the gradient of the logits equal the formula") {
  std::vector<OpCase> cases;
  for (const Settings& s : kSettings) cases.push_back(route_case(s));
  test::check_ops(cases);
}

TEST_CASE("without a gradient of the scores it counts as 0") {
  const Settings& s = kSettings[0];
  const Route r = moe_route(random_tensor({10, 8}, 1), bias_of(s), s.options);
  const at::Tensor g = random_tensor({10, 3}, 3);
  CHECK(test::same_bits(moe_route_backward(g, {}, r.experts_NK, r.scores_NE, s.options),
                        moe_route_backward(g, at::zeros({10, 8}), r.experts_NK, r.scores_NE, s.options)));
}

TEST_CASE("experts come in falling order of the biased score, ties by index") {
  const at::Tensor logits = at::tensor(std::vector<float>{0, 0, 0, 0}).view({1, 4}),
                   bias = at::tensor(std::vector<float>{0, 0.5, 0.5, 0.6});
  const Route r = moe_route(logits, bias, {.top_k = 3});
  CHECK(test::same_bits(r.experts_NK, at::tensor(std::vector<int64_t>{3, 1, 2}).view({1, 3})));
  CHECK(r.weights_NK.sum().item<float>() == Approx(1.0));
  CHECK(r.weights_NK[0][0].item<float>() == Approx(1.0 / 3.0));  // the bias selects and does not weigh
}

TEST_CASE("a group is scored by its two best experts with a bias and by its best without") {
  // Group 0 holds the single best expert, group 1 the best pair.
  const at::Tensor logits = at::tensor(std::vector<float>{3.0, -5.0, 1.5, 1.5}).view({1, 4});
  const RouteOptions o = {.top_k = 2, .groups = 2, .topk_group = 1};
  CHECK(chosen(moe_route(logits, at::zeros({4}), o), 0)[0].first == 2);
  CHECK(chosen(moe_route(logits, {}, o), 0)[0].first == 0);
}

TEST_CASE("given experts are obeyed, whatever the bias says, and weighed by the scores") {
  for (const Settings& s : kSettings) {
    CAPTURE(s.name);
    const at::Tensor logits = random_tensor({10, 8}, 1);
    const Route first = moe_route(logits, bias_of(s), s.options);
    const Route again = moe_route(logits, random_tensor({8}, 9) * 5.0, s.options, first.experts_NK);
    CHECK(test::same_bits(again.experts_NK, first.experts_NK));
    CHECK(test::same_bits(again.weights_NK, first.weights_NK));
    CHECK(test::same_bits(again.scores_NE, first.scores_NE));
  }
  const at::Tensor logits = random_tensor({2, 8}, 1);
  CHECK_THROWS_WITH(moe_route(logits, {}, {.top_k = 2}, at::zeros({2, 3}, at::kLong)), Catch::Contains("expected the chosen experts"));
}

TEST_CASE("an impossible choice is refused") {
  const at::Tensor logits = random_tensor({2, 8}, 1);
  for (const RouteOptions& o :
       {RouteOptions{.top_k = 9}, RouteOptions{.top_k = 3, .groups = 4, .topk_group = 1}, RouteOptions{.top_k = 1, .groups = 3},
        RouteOptions{.top_k = 1, .groups = 2, .topk_group = 3}, RouteOptions{.top_k = 1, .groups = 0}})
    CHECK_THROWS_WITH(moe_route(logits, {}, o), Catch::Contains("moe_route: top") && Catch::Contains("is impossible"));
}

}  // namespace cohort::kernels
