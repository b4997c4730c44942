#include "launcher/length_distribution.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/random.h"
#include "core/base/text_util.h"

namespace cohort::launcher {
namespace {

constexpr double kPercentile99 = 2.3263478740408408;
constexpr size_t kMaxLine = 16 << 20;
constexpr size_t kMaxRows = 1'000'000;

/// False at the end of the file. InputError for a line that is too long, which is not held in memory.
bool next_line(std::istream& in, std::string& line, const std::string& where) {
  line.clear();
  for (int c = in.get(); c != std::char_traits<char>::eof(); c = in.get()) {
    if (c == '\n') return true;
    if (line.size() == kMaxLine) throw InputError(where + ": expected a line of at most 16 MiB, found a longer one");
    line.push_back(static_cast<char>(c));
  }
  return !line.empty();
}

int64_t answer_length(const std::string& line, const std::string& where) {
  const nlohmann::json row = nlohmann::json::parse(line, nullptr, false);
  if (!row.is_object()) throw InputError(where + ": expected a JSON object, found " + printable(line));
  const auto ids = row.find("response_ids");
  if (ids == row.end() || !ids->is_array() || ids->empty())
    throw InputError(where + ": response_ids: expected a list of token ids, found " +
                     (ids == row.end() ? std::string("none") : printable(ids->dump())));
  return static_cast<int64_t>(ids->size());
}

}  // namespace

double LengthDistribution::sigma() const {
  const double distance = std::log(max / mean);
  const double root = kPercentile99 * kPercentile99 - 2.0 * distance;
  return distance <= 0.0 ? 0.0 : root <= 0.0 ? kPercentile99 : kPercentile99 - std::sqrt(root);
}

double LengthDistribution::square_ratio() const { return std::exp(sigma() * sigma()); }

std::vector<int64_t> draw_lengths(const LengthDistribution& distribution, int64_t count, uint64_t seed, uint64_t batch) {
  RandomStream stream(seed, "plan/lengths", {batch});
  const double sigma = distribution.sigma(), mu = std::log(distribution.mean) - sigma * sigma / 2.0;
  std::vector<int64_t> lengths(static_cast<size_t>(count));
  for (int64_t& length : lengths)
    length = static_cast<int64_t>(std::clamp(std::round(std::exp(mu + sigma * stream.normal())), 1.0, std::max(1.0, distribution.max)));
  return lengths;
}

std::vector<int64_t> draw_lengths(const std::vector<int64_t>& lengths, int64_t count, uint64_t seed, uint64_t batch) {
  RandomStream stream(seed, "plan/lengths", {batch});
  std::vector<int64_t> drawn(static_cast<size_t>(count));
  for (int64_t& length : drawn) length = lengths[stream.below(lengths.size())];
  return drawn;
}

std::vector<int64_t> read_sample_lengths(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw InputError(path + ": expected a file of samples, found none that can be read");
  std::vector<int64_t> lengths;
  std::string line;
  for (size_t number = 1; next_line(in, line, fmt::format("{}:{}", path, number)); ++number) {
    if (line.empty()) continue;
    if (lengths.size() == kMaxRows) throw InputError(path + ": expected at most a million rows, found more");
    lengths.push_back(answer_length(line, fmt::format("{}:{}", path, number)));
  }
  if (lengths.empty()) throw InputError(path + ": expected samples, found no row");
  return lengths;
}

}  // namespace cohort::launcher
