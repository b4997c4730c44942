#include "kernels/token_logprob/token_logprob.h"

#include <cmath>

#include "tests/kernels/op_case.h"

namespace cohort::kernels {
namespace {

using test::OpCase;
using test::random_ids;
using test::random_tensor;
using test::Tensors;

struct Settings {
  const char* name;
  int64_t rows, vocabulary, limit;
  double inverse_temperature, scale;
};
const std::vector<Settings> kSettings = {{"plain", 9, 50, 50, 1.0, 1.0},
                                         {"part of the vocabulary", 600, 50, 37, 1.0, 2.0},  // more rows than one thread takes
                                         {"cold", 9, 33, 33, 1.0 / 0.3, 1.0},
                                         {"sharp", 9, 33, 33, 1.0, 8.0},
                                         {"one token", 3, 5, 1, 1.0, 1.0}};

OpCase logprob_case(const Settings& s) {
  const at::Tensor ids = random_ids({s.rows}, s.limit, 5);
  return {.name = s.name,
          .inputs = {random_tensor({s.rows, s.vocabulary}, 1) * s.scale},
          .forward =
              [=](const Tensors& in) {
                const TokenLogprob r = token_logprob(in[0], ids, s.inverse_temperature, s.limit, false);
                return Tensors{r.logprob_N, r.entropy_N};
              },
          .backward =
              [=](const Tensors& in, const Tensors& g) {
                const TokenLogprob r = token_logprob(in[0], ids, s.inverse_temperature, s.limit, true);
                return Tensors{token_logprob_backward(g[0], g[1], r, ids, s.inverse_temperature, s.limit)};
              },
          .reference =
              [=](const Tensors& in) {
                const at::Tensor logp = at::log_softmax(in[0].narrow(1, 0, s.limit) * s.inverse_temperature, -1);
                return Tensors{logp.gather(1, ids.unsqueeze(1)).squeeze(1), -(logp.exp() * logp).sum(-1)};
              }};
}

}  // namespace

TEST_CASE("log-probability, entropy and their gradient equal the formula") {
  std::vector<OpCase> cases;
  for (const Settings& s : kSettings) cases.push_back(logprob_case(s));
  test::check_ops(cases);
}

TEST_CASE("probabilities are kept only when asked for, and are 0 beyond the limit") {
  const at::Tensor logits = random_tensor({4, 20}, 1), ids = random_ids({4}, 12, 2);
  CHECK_FALSE(token_logprob(logits, ids, 1.0, 12, false).probs_NV.defined());
  const at::Tensor probs = token_logprob(logits, ids, 1.0, 12, true).probs_NV;
  CHECK((probs.sum(-1) - 1.0).abs().max().item<double>() < 1e-6);
  CHECK(probs.narrow(1, 12, 8).abs().max().item<double>() == 0.0);
}

TEST_CASE("without a gradient of the entropy it counts as 0") {
  const at::Tensor logits = random_tensor({4, 20}, 1), ids = random_ids({4}, 20, 2), g = random_tensor({4}, 3);
  const TokenLogprob r = token_logprob(logits, ids, 0.5, 20, true);
  const at::Tensor without = token_logprob_backward(g, {}, r, ids, 0.5, 20),
                   with_zeros = token_logprob_backward(g, at::zeros({4}), r, ids, 0.5, 20);
  CHECK(test::relative_error(without, with_zeros) <= 1e-6);
}

TEST_CASE("a row's log-probability has the same bits alone, in a batch, and from the sampler's softmax") {
  const at::Tensor logits = random_tensor({700, 33}, 1), ids = random_ids({700}, 30, 2);
  const TokenLogprob together = token_logprob(logits, ids, 1.0 / 0.7, 30, false);
  std::vector<float> weights(30);
  bool equal = true;
  for (int64_t i = 0; i < 700; ++i) {
    const TokenLogprob alone = token_logprob(logits.narrow(0, i, 1), ids.narrow(0, i, 1), 1.0 / 0.7, 30, false);
    equal = equal && test::same_bits(alone.logprob_N, together.logprob_N.narrow(0, i, 1)) &&
            test::same_bits(alone.entropy_N, together.entropy_N.narrow(0, i, 1));
    const float scale = static_cast<float>(1.0 / 0.7), *row = logits.data_ptr<float>() + i * 33;
    const float sampled = row[ids.data_ptr<int64_t>()[i]] * scale - softmax_logits_row(row, 30, scale, weights.data()).log_normaliser;
    equal = equal && sampled == together.logprob_N.data_ptr<float>()[i];
  }
  CHECK(equal);
}

TEST_CASE("tokens that are all but impossible have finite log-probabilities and no entropy") {
  at::Tensor logits = at::zeros({1, 4});
  logits[0][0] = 300.0f;
  const TokenLogprob r = token_logprob(logits, at::tensor(std::vector<int64_t>{2}), 1.0, 4, true);
  CHECK(r.logprob_N.item<float>() == Approx(-300.0));
  CHECK(r.entropy_N.item<float>() == Approx(0.0).margin(1e-12));
  const at::Tensor grad = token_logprob_backward(at::ones({1}), at::ones({1}), r, at::tensor(std::vector<int64_t>{2}), 1.0, 4);
  CHECK(at::isfinite(grad).all().item<bool>());
}

TEST_CASE("a wrong call of token_logprob is refused by name") {
  const at::Tensor logits = random_tensor({2, 5}, 1);
  const auto call = [&](std::vector<int64_t> ids, int64_t limit) { return token_logprob(logits, at::tensor(ids), 1.0, limit, false); };
  CHECK_THROWS_WITH(call({0, 3}, 3), Catch::Contains("token_logprob: id 3 outside 3"));
  CHECK_THROWS_WITH(call({0, -1}, 3), Catch::Contains("token_logprob: id -1"));
  CHECK_THROWS_WITH(call({0, 1}, 6), Catch::Contains("limit 6"));
  CHECK_THROWS_WITH(call({0, 1}, 0), Catch::Contains("limit 0"));
  CHECK_THROWS_WITH(call({0}, 5), Catch::Contains("1 ids"));
}

}  // namespace cohort::kernels
