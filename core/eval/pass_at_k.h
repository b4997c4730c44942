#pragma once
/// Numbers of an evaluation with several samples per question, and how far to trust them.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace cohort::eval {

/// Chance that k samples drawn from n without replacement hold a correct one when c of the n are correct:
///   pass@k = 1 - C(n-c, k) / C(n, k)
/// the unbiased estimator of Chen et al., "Evaluating large language models trained on code", arXiv 2107.03374, eq. 1. Computed as a
/// product, so nothing overflows. Fault unless 0 ≤ c ≤ n and 1 ≤ k ≤ n.
double pass_at_k(int64_t n, int64_t c, int64_t k);

/// Index of the first sample that gives the most frequent answer; of several equally frequent answers, that which appears first.
/// Samples without an answer ("") do not vote. Empty when nobody votes. cons@n is the correctness of the sample it names.
std::optional<size_t> majority_vote(const std::vector<std::string>& answers);

/// A mean with its confidence interval.
struct Estimate {
  double mean = 0.0;
  double low = 0.0;
  double high = 0.0;
};

/// Mean of per-question values with the percentile bootstrap's interval (Efron 1979): questions, not samples, are drawn anew, because the
/// samples of one question depend on each other. A function of its arguments alone. Fault for no values. O(resamples · values).
Estimate bootstrap_mean(const std::vector<double>& values, uint64_t seed, double confidence = 0.95, int64_t resamples = 1000);

}  // namespace cohort::eval
