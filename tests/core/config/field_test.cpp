#include "core/config/field.h"

#include <catch2/catch.hpp>
#include <limits>

namespace cohort::config {
namespace {

TEST_CASE("ranges accept what they say") {
  CHECK(any().text().empty());
  CHECK(any().contains(-1e300));
  CHECK(at_least(1).text() == "at least 1");
  CHECK(at_least(1).contains(1));
  CHECK_FALSE(at_least(1).contains(0.999));
  CHECK(at_most(2).contains(2));
  CHECK_FALSE(at_most(2).contains(2.1));
  CHECK(positive().text() == "above 0");
  CHECK_FALSE(positive().contains(0));
  CHECK(less_than(3).text() == "below 3");
  CHECK_FALSE(less_than(3).contains(3));
  CHECK(between(0, 1).text() == "between 0 and 1");
  CHECK(between(0, 1).contains(0));
  CHECK(between(0, 1).contains(1));
  CHECK(strictly_between(0, 1).text() == "above 0 and below 1");
  CHECK_FALSE(strictly_between(0, 1).contains(1));
  CHECK(half_open(0, 0.5).text() == "at least 0 and below 0.5");
  CHECK(half_open(0, 1).contains(0));
  CHECK_FALSE(half_open(0, 1).contains(1));
  CHECK(above_up_to(0, 1).text() == "above 0 and at most 1");
  CHECK(above_up_to(0, 1).contains(1));
  CHECK_FALSE(above_up_to(0, 1).contains(0));
}

TEST_CASE("no range with a bound accepts what is not a number") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK_FALSE(at_least(0).contains(nan));
  CHECK_FALSE(at_most(0).contains(nan));
}

}  // namespace
}  // namespace cohort::config
