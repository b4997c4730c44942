#pragma once
/// How long answers are: a log-normal distribution cut at a maximum, or the lengths of answers that were sampled.

#include <cstdint>
#include <string>
#include <vector>

namespace cohort::launcher {

/// Log-normal with the mean `mean` before it is cut at `max`. Its spread is such that one answer in a hundred reaches `max`: with
/// z = 2.326, the 99th percentile of the standard normal, ln(max / mean) = z s - s^2 / 2. Where `max` is too far away for that (more than
/// e^(z^2 / 2) = 15 times the mean) s is z. mean == max: every answer has that length.
struct LengthDistribution {
  double mean = 1.0;
  double max = 1.0;

  double sigma() const;
  /// E[L^2] / E[L]^2 = e^(s^2) before it is cut: what attention costs more than answers of equal length.
  double square_ratio() const;
};

/// `count` lengths, each at least 1 and at most max, of batch `batch`: a pure function of its arguments.
std::vector<int64_t> draw_lengths(const LengthDistribution& distribution, int64_t count, uint64_t seed, uint64_t batch);

/// `count` lengths drawn with replacement from `lengths`, which is not empty.
std::vector<int64_t> draw_lengths(const std::vector<int64_t>& lengths, int64_t count, uint64_t seed, uint64_t batch);

/// Numbers of tokens of the answers in a run's samples/STAGE.jsonl. InputError "FILE:LINE: response_ids: …" for the first row without them,
/// for a line above 16 MiB, for more than a million rows and for a file without rows.
std::vector<int64_t> read_sample_lengths(const std::string& path);

}  // namespace cohort::launcher
