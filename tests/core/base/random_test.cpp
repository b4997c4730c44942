#include "core/base/random.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <set>

#include "core/base/error.h"

namespace cohort {
namespace {

using Block = std::array<uint32_t, 4>;

TEST_CASE("Philox4x32-10 gives the known answers of Random123") {
  const uint32_t ff = 0xffffffff;
  CHECK(philox4x32({0, 0, 0, 0}, {0, 0}) == Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox4x32({ff, ff, ff, ff}, {ff, ff}) == Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("a random stream is a function of seed, name and coordinates alone") {
  RandomStream a(7, "sample", {1, 2, 3});
  const RandomStream b(7, "sample", {1, 2, 3});
  for (uint64_t i = 0; i < 5; ++i) CHECK(a.bits() == b.bits_at(i));
}

TEST_CASE("the streams of a run never change between versions of the program") {
  // Recorded once; a change here changes every run with the same seed.
  CHECK(RandomStream(17, "sample", {3, 1, 4}).bits_at(0) == 0x55ed9db1874068f7u);
  CHECK(RandomStream(17, "init/model.embed").bits_at(1) == 0x1f97440f62dc4284u);
}

TEST_CASE("different seeds, names and coordinates give different streams") {
  std::set<uint64_t> first;
  first.insert(RandomStream(1, "a").bits());
  first.insert(RandomStream(2, "a").bits());
  first.insert(RandomStream(1, "b").bits());
  first.insert(RandomStream(1, "").bits());
  first.insert(RandomStream(1, std::string_view("\0", 1)).bits());
  first.insert(RandomStream(1, std::string_view("a\0", 2)).bits());
  first.insert(RandomStream(1, "aaaaaaaa").bits());
  first.insert(RandomStream(1, "aaaaaaaab").bits());
  first.insert(RandomStream(1, "a", {0}).bits());
  first.insert(RandomStream(1, "a", {0, 0}).bits());
  first.insert(RandomStream(1, "a", {1, 0}).bits());
  first.insert(RandomStream(1, "a", {0, 1}).bits());
  first.insert(RandomStream(1, "a", {uint64_t{1} << 32}).bits());
  CHECK(first.size() == 13);
}

TEST_CASE("uniform numbers fill [0, 1) evenly") {
  RandomStream stream(3, "uniform");
  std::array<int, 10> counts{};
  const int n = 100'000;
  for (int i = 0; i < n; ++i) {
    const double u = stream.uniform();
    REQUIRE(u >= 0.0);
    REQUIRE(u < 1.0);
    ++counts[static_cast<size_t>(u * 10)];
  }
  double chi_square = 0.0;
  for (const int count : counts) chi_square += std::pow(count - n / 10.0, 2) / (n / 10.0);
  CHECK(chi_square < 27.9);  // 9 degrees of freedom, p = 0.001
}

TEST_CASE("below and between stay inside their bounds and reach both ends") {
  RandomStream stream(5, "below");
  std::array<int, 6> counts{};
  for (int i = 0; i < 60'000; ++i) {
    const int64_t x = stream.between(-2, 3);
    REQUIRE(x >= -2);
    REQUIRE(x <= 3);
    ++counts[static_cast<size_t>(x + 2)];
  }
  for (const int count : counts) CHECK(std::abs(count - 10'000) < 500);
  CHECK(stream.below(1) == 0);
  const uint64_t huge = (uint64_t{1} << 63) + 1;
  for (int i = 0; i < 100; ++i) REQUIRE(stream.below(huge) < huge);
  // Without drawing again, half of the numbers would fall into the lowest third.
  const uint64_t third = uint64_t{1} << 62;
  int low = 0;
  for (int i = 0; i < 3000; ++i) low += stream.below(3 * third) < third ? 1 : 0;
  CHECK(std::abs(low - 1000) < 150);
  CHECK_THROWS_AS(stream.below(0), Fault);
}

TEST_CASE("normal numbers have mean 0, variance 1 and the right tails") {
  RandomStream stream(9, "normal");
  const int n = 100'000;
  double sum = 0.0;
  double squares = 0.0;
  int beyond_two = 0;
  for (int i = 0; i < n; ++i) {
    const double x = stream.normal();
    REQUIRE(std::isfinite(x));
    sum += x;
    squares += x * x;
    beyond_two += std::abs(x) > 2.0 ? 1 : 0;
  }
  CHECK(std::abs(sum / n) < 0.013);
  CHECK(std::abs(squares / n - 1.0) < 0.02);
  CHECK(std::abs(beyond_two / static_cast<double>(n) - 0.0455) < 0.003);
}

TEST_CASE("shuffled gives each permutation equally often") {
  std::array<int, 6> counts{};
  for (uint64_t i = 0; i < 6000; ++i) {
    const std::vector<int64_t> order = shuffled(3, RandomStream(1, "shuffle", {i}));
    REQUIRE(std::is_permutation(order.begin(), order.end(), std::vector<int64_t>{0, 1, 2}.begin()));
    ++counts[static_cast<size_t>(order[0] * 2 + (order[1] > order[2] ? 1 : 0))];
  }
  for (const int count : counts) CHECK(std::abs(count - 1000) < 150);
  CHECK(shuffled(0, RandomStream(1, "shuffle")).empty());
}

}  // namespace
}  // namespace cohort
