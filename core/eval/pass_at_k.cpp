#include "core/eval/pass_at_k.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <unordered_map>

#include "core/base/error.h"
#include "core/base/random.h"

namespace cohort::eval {

double pass_at_k(int64_t n, int64_t c, int64_t k) {
  if (c < 0 || c > n || k < 1 || k > n) throw Fault(fmt::format("pass@{} of {} correct samples out of {}", k, c, n));
  if (n - c < k) return 1.0;
  double all_wrong = 1.0;  // C(n-c, k) / C(n, k)
  for (int64_t i = n - c + 1; i <= n; ++i) all_wrong *= 1.0 - static_cast<double>(k) / static_cast<double>(i);
  return 1.0 - all_wrong;
}

std::optional<size_t> majority_vote(const std::vector<std::string>& answers) {
  std::unordered_map<std::string, int64_t> votes;
  for (const std::string& answer : answers) ++votes[answer];
  std::optional<size_t> winner;
  for (size_t i = 0; i < answers.size(); ++i) {
    if (answers[i].empty()) continue;
    if (!winner || votes[answers[i]] > votes[answers[*winner]]) winner = i;
  }
  return winner;
}

Estimate bootstrap_mean(const std::vector<double>& values, uint64_t seed, double confidence, int64_t resamples) {
  if (values.empty() || resamples < 1) throw Fault("a bootstrap needs values and resamples");
  const auto count = static_cast<double>(values.size());
  RandomStream stream(seed, "bootstrap");
  std::vector<double> means(static_cast<size_t>(resamples));
  for (double& mean : means) {
    double sum = 0.0;
    for (size_t i = 0; i < values.size(); ++i) sum += values[stream.below(values.size())];
    mean = sum / count;
  }
  std::sort(means.begin(), means.end());
  const auto quantile = [&](double q) { return means[static_cast<size_t>(std::lround(q * static_cast<double>(resamples - 1)))]; };
  const double tail = (1.0 - confidence) / 2.0;
  return {.mean = std::accumulate(values.begin(), values.end(), 0.0) / count, .low = quantile(tail), .high = quantile(1.0 - tail)};
}

}  // namespace cohort::eval
