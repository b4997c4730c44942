#include "launcher/process_setup.h"

#include <catch2/catch.hpp>

namespace cohort::launcher {
namespace {

TEST_CASE("ranks of one machine share its cores") {
  CHECK(threads_per_rank(nullptr, 8, 8, 1) == 8);
  CHECK(threads_per_rank(nullptr, 8, 8, 2) == 4);
  CHECK(threads_per_rank(nullptr, 8, 8, 3) == 2);
  CHECK(threads_per_rank(nullptr, 2, 2, 4) == 1);  // more ranks than cores
  CHECK(threads_per_rank(nullptr, 8, 1, 2) == 1);  // bound to one core
  CHECK(threads_per_rank(nullptr, 8, 4, 1) == 4);  // half a machine
}

TEST_CASE("OMP_NUM_THREADS wins where it is a number") {
  CHECK(threads_per_rank("3", 8, 8, 2) == 3);
  CHECK(threads_per_rank("16", 8, 8, 2) == 16);
  CHECK(threads_per_rank("", 8, 8, 2) == 4);
  CHECK(threads_per_rank("many", 8, 8, 2) == 4);
  CHECK(threads_per_rank("-1", 8, 8, 2) == 4);
}

}  // namespace
}  // namespace cohort::launcher
