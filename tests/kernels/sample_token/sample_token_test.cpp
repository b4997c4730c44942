#include "kernels/sample_token/sample_token.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <set>

#include "core/base/stopwatch.h"
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

/// The specification of top-k and top-p, one of which is on: all tokens put in order. Returns the token.
int64_t sample_slowly(const float* logits, int64_t vocab_limit, const SampleOptions& o, double uniform) {
  std::vector<float> weights(static_cast<size_t>(vocab_limit));
  softmax_logits_row(logits, vocab_limit, static_cast<float>(1.0 / o.temperature), weights.data());
  std::vector<size_t> order(weights.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return weights[a] > weights[b]; });
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  double mass = 0.0;
  size_t kept = 0;
  const size_t most = o.top_k > 0 ? std::min(order.size(), static_cast<size_t>(o.top_k)) : order.size();
  while (kept < most && (kept == 0 || mass < o.top_p * total)) mass += weights[order[kept++]];
  for (size_t i = kept; i < order.size(); ++i) weights[order[i]] = 0.0f;
  const double target = uniform * std::accumulate(weights.begin(), weights.end(), 0.0);
  double cumulative = 0.0;
  size_t id = 0;
  for (size_t i = 0; i < weights.size() && cumulative <= target; ++i)
    if (weights[i] != 0.0f) id = i, cumulative += weights[i];
  return static_cast<int64_t>(id);
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

TEST_CASE("the kept tokens are those that putting all in order keeps") {
  // From one likely token to none that stands out; with ties, within the kept ones and at their edge.
  const at::Tensor plain = test::random_tensor({5, 5000}, 3) * at::tensor({0.01f, 0.3f, 1.0f, 4.0f, 20.0f}).unsqueeze(1);
  const at::Tensor rows = at::cat({plain, at::round(plain), at::zeros({1, 5000})});
  for (int64_t row = 0; row < rows.size(0); ++row)
    for (const int64_t limit : {1, 7, 4999})
      for (const double top_p : {0.0, 0.3, 0.95, 0.9999999, 1.0})
        for (const int64_t top_k : {top_p < 1.0 ? 0 : 2, 1, 40, 4998, 6000})
          for (const double uniform : {0.0, 0.37, 0.9999999999999999}) {
            const SampleOptions options{0.6, top_p, top_k};
            const float* logits = rows.data_ptr<float>() + row * 5000;
            if (sample_token(logits, limit, options, uniform).id == sample_slowly(logits, limit, options, uniform)) continue;
            FAIL("row " << row << ", " << limit << " tokens, top-p " << top_p << ", top-k " << top_k << ", at " << uniform);
          }
}

TEST_CASE("top-k and top-p at the size of a published vocabulary", "[.][sample_token_time]") {
  constexpr int64_t kTokens = 151'936;
  const at::Tensor normal = test::random_tensor({kTokens}, 4);
  for (const double spread : {0.1, 1.0, 3.0, 5.0})
    for (const SampleOptions& options :
         {SampleOptions{0.6, 1.0, 0}, SampleOptions{0.6, 0.95, 0}, SampleOptions{0.6, 0.95, 20}, SampleOptions{0.6, 1.0, 50}}) {
      const at::Tensor logits = normal * spread;
      double slow = 1e9, fast = 1e9;
      for (int round = 0; round < 9; ++round) {
        const Stopwatch first;
        sample_slowly(logits.data_ptr<float>(), kTokens, options, 0.5);
        slow = std::min(slow, first.seconds());
        const Stopwatch second;
        sample_token(logits.data_ptr<float>(), kTokens, options, 0.5);
        fast = std::min(fast, second.seconds());
      }
      std::printf("spread %.1f, top-p %.2f, top-k %2lld: all in order %.3f ms, sample_token %.3f ms\n", spread, options.top_p,
                  static_cast<long long>(options.top_k), slow * 1e3, fast * 1e3);
    }
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
