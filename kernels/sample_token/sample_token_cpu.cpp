#include <algorithm>
#include <numeric>
#include <optional>
#include <vector>

#include "kernels/sample_token/sample_token.h"
#include "kernels/token_logprob/token_logprob.h"

namespace cohort::kernels {
namespace {

struct Token {
  float weight;
  int32_t id;
};

/// Ties by index.
bool likelier(const Token& a, const Token& b) { return a.weight != b.weight ? a.weight > b.weight : a.id < b.id; }

/// The last of the likeliest tokens that have `mass` together, or of the `most` likeliest. Puts those of at least weight `cut` in order and
/// no others; none when they are too few to tell.
std::optional<Token> last_kept(const std::vector<float>& weights, float cut, double mass, size_t most) {
  std::vector<Token> order;
  for (size_t i = 0; i < weights.size(); ++i)
    if (weights[i] >= cut) order.push_back({weights[i], static_cast<int32_t>(i)});
  if (most < order.size()) {
    std::nth_element(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(most), order.end(), likelier);
    order.resize(most);
  }
  std::sort(order.begin(), order.end(), likelier);
  double held = 0.0;
  for (const Token& token : order)
    if ((held += token.weight) >= mass) return token;
  return order.size() == most ? std::optional(order.back()) : std::nullopt;
}

/// Zeroes the numerators of tokens outside top-k and top-p.
void keep_likeliest(std::vector<float>& weights, const SampleOptions& o) {
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  const size_t most = o.top_k > 0 ? std::min(weights.size(), static_cast<size_t>(o.top_k)) : weights.size();
  // At most 1024 tokens reach the first cut, and most often they are enough. What is below the second has less than 1 - top_p of the mass.
  const double lightest = (1.0 - o.top_p) * total / static_cast<double>(weights.size());
  std::optional<Token> last;
  for (const double cut : {total / 1024, lightest, 0.0})
    if (!last) last = last_kept(weights, static_cast<float>(cut), o.top_p * total, most);
  for (size_t i = 0; last && i < weights.size(); ++i)
    if (likelier(*last, {weights[i], static_cast<int32_t>(i)})) weights[i] = 0.0f;
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
