#include "core/base/walltime.h"

#include <catch2/catch.hpp>

#include "core/base/error.h"

namespace cohort {
namespace {

TEST_CASE("the sooner of what Slurm and the recipe say") {
  CHECK(!seconds_to_walltime(nullptr, 1000.0, 0.0));
  CHECK(seconds_to_walltime(nullptr, 1000.0, 60.0) == 60.0);
  CHECK(seconds_to_walltime("1090", 1000.0, 0.0) == 90.0);
  CHECK(seconds_to_walltime("1090", 1000.0, 60.0) == 60.0);
  CHECK(seconds_to_walltime("1030", 1000.0, 60.0) == 30.0);
  CHECK(seconds_to_walltime("990", 1000.0, 0.0) == -10.0);
}

TEST_CASE("an end that is no number is refused") {
  for (const char* text : {"", "soon", "-5", "12x", "99999999999999999999999"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(seconds_to_walltime(text, 1000.0, 0.0), InputError);
  }
}

}  // namespace
}  // namespace cohort
