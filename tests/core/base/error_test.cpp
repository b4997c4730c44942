#include "core/base/error.h"

#include <catch2/catch.hpp>

namespace cohort {
namespace {

TEST_CASE("an input error holds every problem, one per line") {
  const InputError both(std::vector<std::string>{"a:1: x", "a:2: y"});
  CHECK(both.problems().size() == 2);
  CHECK(std::string(both.what()) == "a:1: x\na:2: y");
  CHECK(InputError("one").problems() == std::vector<std::string>{"one"});
}

}  // namespace
}  // namespace cohort
