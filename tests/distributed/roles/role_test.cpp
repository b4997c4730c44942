#include "distributed/roles/role.h"

#include <catch2/catch.hpp>

#include "core/base/error.h"

namespace cohort::roles {

TEST_CASE("colocated: everybody rolls out and trains, rank 0 coordinates") {
  CHECK(describe_colocated({"a", "a", "b"}) ==
        std::vector<std::string>{"rank 0: coordinator rollout trainer (a)", "rank 1: rollout trainer (a)", "rank 2: rollout trainer (b)"});
  CHECK(describe_roles(5, {.rollout = true}, "c") == "rank 5: rollout (c)");
  CHECK_THROWS_AS(colocated_roles(2, 2), Fault);
  CHECK_THROWS_AS(colocated_roles(-1, 2), Fault);
}

}  // namespace cohort::roles
