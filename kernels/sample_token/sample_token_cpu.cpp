#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/sample_token/sample_token.h"
#include "kernels/token_logprob/token_logprob.h"

namespace cohort::kernels {
namespace {

/// Zeroes the numerators of tokens outside top-k and top-p.
void keep_likeliest(std::vector<float>& weights, const SampleOptions& o) {
  std::vector<int64_t> order(weights.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return weights[static_cast<size_t>(a)] > weights[static_cast<size_t>(b)]; });
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  double mass = 0.0;
  size_t kept = 0;
  const size_t most = o.top_k > 0 ? std::min(order.size(), static_cast<size_t>(o.top_k)) : order.size();
  while (kept < most && (kept == 0 || mass < o.top_p * total)) mass += weights[static_cast<size_t>(order[kept++])];
  for (size_t i = kept; i < order.size(); ++i) weights[static_cast<size_t>(order[i])] = 0.0f;
}

}  // namespace

SampledToken sample_token(const float* logits, int64_t vocab_limit, const SampleOptions& o, double uniform) {
  std::vector<float> weights(static_cast<size_t>(vocab_limit));
  const bool greedy = o.temperature == 0.0;
  const float inverse_temperature = greedy ? 1.0f : static_cast<float>(1.0 / o.temperature);
  const float log_normaliser = softmax_logits_row(logits, vocab_limit, inverse_temperature, weights.data()).log_normaliser;
  int64_t id = 0;
  if (greedy) {
    id = std::max_element(logits, logits + vocab_limit) - logits;
  } else {
    if (o.top_p < 1.0 || o.top_k > 0) keep_likeliest(weights, o);
    const double target = uniform * std::accumulate(weights.begin(), weights.end(), 0.0);
    double cumulative = 0.0;
    for (int64_t i = 0; i < vocab_limit; ++i) {
      if (weights[static_cast<size_t>(i)] == 0.0f) continue;
      id = i;
      cumulative += weights[static_cast<size_t>(i)];
      if (cumulative > target) break;
    }
  }
  return {id, logits[id] * inverse_temperature - log_normaliser};
}

}  // namespace cohort::kernels
