#include "distributed/roles/role.h"

#include <catch2/catch.hpp>

#include "core/base/error.h"

namespace cohort::roles {

TEST_CASE("colocated: everybody rolls out and trains, rank 0 coordinates") {
  CHECK(describe_ranks({"a", "a", "b"}, 0) ==
        std::vector<std::string>{"rank 0: coordinator rollout trainer (a)", "rank 1: rollout trainer (a)", "rank 2: rollout trainer (b)"});
  CHECK(describe_roles(5, {.rollout = true}, "c") == "rank 5: rollout (c)");
  CHECK_THROWS_AS(roles_of(2, 2, 0), Fault);
  CHECK_THROWS_AS(roles_of(-1, 2, 0), Fault);
}

TEST_CASE("split: the last ranks roll out, the others train") {
  CHECK(describe_ranks({"a", "a", "b"}, 1) ==
        std::vector<std::string>{"rank 0: coordinator trainer (a)", "rank 1: trainer (a)", "rank 2: rollout (b)"});
  CHECK(describe_ranks({"a", "b"}, 1) == std::vector<std::string>{"rank 0: coordinator trainer (a)", "rank 1: rollout (b)"});
  CHECK_THROWS_WITH(roles_of(0, 2, 2), Catch::Contains("2 of 2 ranks"));
  CHECK_THROWS_AS(roles_of(0, 2, -1), Fault);
}

}  // namespace cohort::roles
