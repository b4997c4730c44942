#include "kernels/sample_token/sample_token.h"

#include <cmath>
#include <set>

#include "kernels/token_logprob/token_logprob.h"
#include "tests/kernels/op_case.h"

namespace cohort::kernels {
namespace {

const std::vector<float> kLogits = {0.3f, -1.0f, 2.0f, 0.3f, 1.1f, -4.0f};

/// Share of each token when the uniform number runs through [0, 1) in equal steps: exact to one step.
std::vector<double> shares(const std::vector<float>& logits, const SampleOptions& options, int steps = 20'000) {
  std::vector<double> out(logits.size());
  for (int i = 0; i < steps; ++i)
    out[static_cast<size_t>(sample_token(logits.data(), static_cast<int64_t>(logits.size()), options, (i + 0.5) / steps).id)] +=
        1.0 / steps;
  return out;
}

/// softmax(logits / temperature) over the given tokens, 0 elsewhere.
std::vector<double> softmax(const std::vector<float>& logits, double temperature, const std::set<size_t>& among) {
  std::vector<double> out(logits.size());
  double total = 0.0;
  for (size_t i : among) total += out[i] = std::exp(static_cast<double>(logits[i]) / temperature);
  for (double& p : out) p /= total;
  return out;
}

void check_shares(const std::vector<double>& got, const std::vector<double>& want) {
  for (size_t i = 0; i < want.size(); ++i) {
    CAPTURE(i);
    CHECK(got[i] == Approx(want[i]).margin(2e-4));
  }
}

}  // namespace

TEST_CASE("tokens come as often as softmax says") {
  const std::set<size_t> all = {0, 1, 2, 3, 4, 5};
  check_shares(shares(kLogits, {}), softmax(kLogits, 1.0, all));
  check_shares(shares(kLogits, {.temperature = 0.5}), softmax(kLogits, 0.5, all));
  check_shares(shares(kLogits, {.temperature = 3.0}), softmax(kLogits, 3.0, all));
}

TEST_CASE("the uniform number 0 belongs to the first token, an edge to the next one") {
  const std::vector<float> even = {1.0f, 1.0f, 1.0f, 1.0f};
  for (const auto& [uniform, id] : {std::pair<double, int64_t>{0.0, 0}, {0.2499, 0}, {0.25, 1}, {0.5, 2}, {0.7499, 2}, {0.75, 3}})
    CHECK(sample_token(even.data(), 4, {}, uniform).id == id);
}

TEST_CASE("top-k keeps the likeliest tokens, ties by index") {
  check_shares(shares(kLogits, {.top_k = 2}), softmax(kLogits, 1.0, {2, 4}));
  check_shares(shares(kLogits, {.top_k = 3}), softmax(kLogits, 1.0, {2, 4, 0}));
  check_shares(shares(kLogits, {.temperature = 2.0, .top_k = 1}), softmax(kLogits, 2.0, {2}));
  check_shares(shares(kLogits, {.top_k = 100}), softmax(kLogits, 1.0, {0, 1, 2, 3, 4, 5}));
}

TEST_CASE("top-p keeps the smallest set of likeliest tokens with that mass") {
  // Probabilities in falling order: 0.548 (token 2), 0.223 (4), 0.100 (0), 0.100 (3), 0.027 (1), 0.001 (5).
  check_shares(shares(kLogits, {.top_p = 0.5}), softmax(kLogits, 1.0, {2}));
  check_shares(shares(kLogits, {.top_p = 0.6}), softmax(kLogits, 1.0, {2, 4}));
  check_shares(shares(kLogits, {.top_p = 0.8}), softmax(kLogits, 1.0, {2, 4, 0}));
  check_shares(shares(kLogits, {.top_p = 1e-9}), softmax(kLogits, 1.0, {2}));
  check_shares(shares(kLogits, {.top_p = 0.0}), softmax(kLogits, 1.0, {2}));  // never nothing
  check_shares(shares(kLogits, {.top_p = 0.8, .top_k = 2}), softmax(kLogits, 1.0, {2, 4}));
}

TEST_CASE("temperature 0 is greedy, ties by index, whatever the uniform number") {
  for (const double uniform : {0.0, 0.5, 0.999}) {
    CHECK(sample_token(kLogits.data(), 6, {.temperature = 0.0}, uniform).id == 2);
    const std::vector<float> ties = {1.0f, 3.0f, 3.0f};
    CHECK(sample_token(ties.data(), 3, {.temperature = 0.0}, uniform).id == 1);
  }
  CHECK(sample_token(kLogits.data(), 6, {.temperature = 0.0}, 0.5).logprob ==
        Approx(std::log(softmax(kLogits, 1.0, {0, 1, 2, 3, 4, 5})[2])));
}

TEST_CASE("the recorded log-probability is the trainer's to the bit, before top-k and top-p") {
  const at::Tensor logits = test::random_tensor({40, 60}, 1);
  for (const double temperature : {0.1, 0.3, 0.6, 0.7, 0.85, 1.0, 1.1, 1.3, 1.9})
    for (const SampleOptions& options : {SampleOptions{temperature, 1.0, 0}, SampleOptions{temperature, 0.5, 7}})
      for (int64_t row = 0; row < 40; ++row) {
        const SampledToken token = sample_token(logits.data_ptr<float>() + row * 60, 47, options, static_cast<double>(row) / 40.0);
        const at::Tensor wanted =
            token_logprob(logits.narrow(0, row, 1), at::tensor(std::vector<int64_t>{token.id}), 1.0 / temperature, 47, false).logprob_N;
        CHECK(token.logprob == wanted.item<float>());
      }
}

TEST_CASE("tokens beyond the limit, and tokens of probability 0, are never drawn") {
  const std::vector<float> logits = {-200.0f, 0.0f, 1.0f, -200.0f, 50.0f};
  for (const double uniform : {0.0, 0.3, 0.9, 0.9999999999999999}) {
    const int64_t id = sample_token(logits.data(), 4, {}, uniform).id;
    CHECK((id == 1 || id == 2));
  }
  CHECK(sample_token(logits.data(), 4, {}, 0.0).id == 1);
  CHECK(sample_token(logits.data(), 4, {}, 0.9999999999999999).id == 2);
}

}  // namespace cohort::kernels
