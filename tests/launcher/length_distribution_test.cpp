#include "launcher/length_distribution.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <fstream>
#include <numeric>

#include "core/base/error.h"
#include "tests/core/base/temp_dir.h"

namespace cohort::launcher {
namespace {

double mean_of(const std::vector<int64_t>& lengths) {
  return std::accumulate(lengths.begin(), lengths.end(), 0.0) / static_cast<double>(lengths.size());
}

TEST_CASE("one answer in a hundred reaches the longest, and the mean is kept") {
  const LengthDistribution d{8192.0, 32768.0};
  // z s - s²/2 = ln 4 with z = 2.3263: s = 2.3263 - sqrt(2.3263² - 2 ln 4)
  CHECK(d.sigma() == Approx(0.70175).epsilon(1e-4));
  const std::vector<int64_t> lengths = draw_lengths(d, 100'000, 17, 0);
  const auto longest = std::count(lengths.begin(), lengths.end(), 32768);
  CHECK(longest > 900);
  CHECK(longest < 1100);
  CHECK(mean_of(lengths) == Approx(8192.0).epsilon(0.02));
  CHECK(*std::min_element(lengths.begin(), lengths.end()) >= 1);
  CHECK(*std::max_element(lengths.begin(), lengths.end()) == 32768);
}

TEST_CASE("lengths are a function of seed and batch; a mean of the longest makes all equal") {
  const LengthDistribution d{10.0, 50.0};
  CHECK(draw_lengths(d, 100, 1, 2) == draw_lengths(d, 100, 1, 2));
  CHECK(draw_lengths(d, 100, 1, 2) != draw_lengths(d, 100, 1, 3));
  CHECK(draw_lengths(d, 100, 1, 2) != draw_lengths(d, 100, 2, 2));
  CHECK(draw_lengths(LengthDistribution{50.0, 50.0}, 3, 1, 0) == std::vector<int64_t>{50, 50, 50});
  CHECK(LengthDistribution{50.0, 50.0}.square_ratio() == 1.0);
  CHECK(LengthDistribution{1.0, 1e6}.sigma() == Approx(2.3263).epsilon(1e-3));
}

TEST_CASE("lengths of a samples file are read, and drawn again") {
  const TempDir folder;
  const std::string path = folder / "zero.jsonl";
  std::ofstream(path) << R"({"step": 1, "response_ids": [1, 2, 3]})"
                      << "\n\n"
                      << R"({"step": 1, "response_ids": [7]})"
                      << "\n";
  const std::vector<int64_t> lengths = read_sample_lengths(path);
  CHECK(lengths == std::vector<int64_t>{3, 1});
  for (const int64_t length : draw_lengths(lengths, 100, 17, 0)) CHECK((length == 3 || length == 1));
}

TEST_CASE("bad samples files are named by line") {
  const TempDir folder;
  const std::string path = folder / "s.jsonl";
  const auto problem = [&](const std::string& text) {
    std::ofstream(path) << text;
    try {
      read_sample_lengths(path);
    } catch (const InputError& error) {
      return error.problems().front().substr(path.size());
    }
    return std::string("none");
  };
  CHECK(problem("") == ": expected samples, found no row");
  CHECK(problem("{\"response_ids\": [1]}\n{}") == ":2: response_ids: expected a list of token ids, found none");
  CHECK(problem("{\"response_ids\": 3}") == ":1: response_ids: expected a list of token ids, found 3");
  CHECK(problem("[[[") == ":1: expected a JSON object, found [[[");
  CHECK_THROWS_AS(read_sample_lengths(folder / "missing"), InputError);
}

}  // namespace
}  // namespace cohort::launcher
