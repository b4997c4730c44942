#include "distributed/roles/coordinator.h"

#include <catch2/catch.hpp>

#include "core/base/error.h"

namespace cohort::roles {
namespace {

std::vector<uint32_t> ranks_of(const records::Assignment& assignment) { return {assignment.ranks().begin(), assignment.ranks().end()}; }

}  // namespace

TEST_CASE("groups are shared out in contiguous, balanced runs of ascending ids") {
  const auto assignment = assign_groups(3, {9, 4, 7, 1, 8, 2, 30}, 3);
  CHECK(assignment.step() == 3);
  CHECK(std::vector<uint64_t>(assignment.group_ids().begin(), assignment.group_ids().end()) == std::vector<uint64_t>{1, 2, 4, 7, 8, 9, 30});
  CHECK(ranks_of(assignment) == std::vector<uint32_t>{0, 0, 0, 1, 1, 2, 2});
  CHECK(ranks_of(assign_groups(0, {5, 6}, 4)) == std::vector<uint32_t>{0, 1});
  CHECK(assign_groups(0, {}, 4).group_ids_size() == 0);
  CHECK_THROWS_WITH(assign_groups(2, {4, 5, 4}, 2), Catch::Contains("step 2: group 4"));
  CHECK_THROWS_AS(assign_groups(0, {1}, 0), Fault);
}

TEST_CASE("an assignment from the wire is checked") {
  const auto good = assign_groups(3, {1, 2, 3}, 2);
  CHECK(parse_assignment(good.SerializeAsString(), 3, 2).group_ids_size() == 3);
  CHECK_THROWS_WITH(parse_assignment("\xff\xff\xff", 3, 2), Catch::Contains("not readable"));
  CHECK_THROWS_WITH(parse_assignment(good.SerializeAsString(), 4, 2), Catch::Contains("is for step 3"));
  CHECK_THROWS_WITH(parse_assignment(good.SerializeAsString(), 3, 1), Catch::Contains("group 3 is assigned to rank 1 of 1"));
  auto bad = good;
  bad.add_group_ids(9);
  CHECK_THROWS_WITH(parse_assignment(bad.SerializeAsString(), 3, 2), Catch::Contains("4 groups and 3 ranks"));
  bad = good;
  bad.set_group_ids(2, 2);
  CHECK_THROWS_WITH(parse_assignment(bad.SerializeAsString(), 3, 2), Catch::Contains("do not ascend at group 2"));
}

TEST_CASE("a group goes through the ledger once") {
  Ledger ledger;
  ledger.assign(assign_groups(0, {0, 1, 2, 3}, 2));
  ledger.rolled_out(0, {0, 1});
  ledger.rolled_out(1, {3, 2});
  ledger.trained(0, {0, 2});
  ledger.trained(1, {1, 3});
  ledger.close_round();
  CHECK(ledger.finished() == 4);
  ledger.assign(assign_groups(0, {4}, 2));  // more groups in the same step
  ledger.assign(assign_groups(0, {5}, 2));
  ledger.rolled_out(0, {4, 5});
  ledger.trained(1, {4, 5});
  ledger.close_round();
  CHECK(ledger.finished() == 6);
  for (uint64_t id = 0; id < 6; ++id) CHECK_THROWS_WITH(ledger.assign(assign_groups(1, {id}, 1)), Catch::Contains("assigned before"));
}

TEST_CASE("a group that came back unfinished may be assigned again, and is still trained once") {
  Ledger ledger;
  ledger.assign(assign_groups(0, {0, 1, 2, 3}, 2));
  ledger.put_back({1, 2});
  CHECK_THROWS_WITH(ledger.put_back({1}), Catch::Contains("step 0: group 1 is put back, which was not assigned"));
  CHECK_THROWS_WITH(ledger.assign(assign_groups(0, {0}, 1)), Catch::Contains("assigned before"));
  ledger.assign(assign_groups(0, {1, 2, 4}, 2));  // another round of the step, other ranks
  ledger.put_back({2});
  CHECK_THROWS_WITH(ledger.rolled_out(0, {2}), Catch::Contains("group 2, which was not assigned"));
  ledger.rolled_out(0, {0, 1}), ledger.rolled_out(1, {3, 4});
  CHECK_THROWS_WITH(ledger.put_back({3}), Catch::Contains("group 3 is put back, which was rolled out"));
  ledger.trained(0, {0, 1, 3, 4});
  ledger.close_round();
  CHECK(ledger.finished() == 4);
  CHECK_THROWS_WITH(ledger.put_back({3}), Catch::Contains("group 3 is put back, which was trained before"));
  CHECK_THROWS_WITH(ledger.assign(assign_groups(1, {1}, 1)), Catch::Contains("assigned before"));
  ledger.assign(assign_groups(1, {2}, 1));  // carried to the next step
  ledger.rolled_out(0, {2}), ledger.trained(1, {2});
  ledger.close_round();
  CHECK(ledger.finished() == 5);
}

TEST_CASE("ids may finish in any order") {
  Ledger ledger;
  uint64_t step = 0;
  for (uint64_t id : {5, 1, 3, 2, 9, 4, 0, 8}) {
    ledger.assign(assign_groups(++step, {id}, 1));
    ledger.rolled_out(0, {id});
    ledger.trained(0, {id});
    ledger.close_round();
  }
  for (uint64_t id : {0, 1, 2, 3, 4, 5, 8, 9}) CHECK_THROWS_AS(ledger.assign(assign_groups(++step, {id}, 1)), Fault);
  CHECK_NOTHROW(ledger.assign(assign_groups(++step, {6, 7, 10}, 1)));
}

TEST_CASE("every way to lose or repeat a group is a Fault with its group, step and rank") {
  Ledger ledger;
  ledger.assign(assign_groups(7, {10, 11, 12, 13}, 2));
  CHECK_THROWS_WITH(ledger.assign(assign_groups(7, {10}, 2)), Catch::Contains("step 7: group 10 is assigned to rank 0 and was assigned"));
  CHECK_THROWS_WITH(ledger.assign(assign_groups(8, {20}, 2)), Catch::Contains("step 7: group 10, assigned to rank 0, was never settled"));
  CHECK_THROWS_WITH(ledger.rolled_out(1, {99}), Catch::Contains("step 7: rank 1 rolled out group 99, which was not assigned"));
  CHECK_THROWS_WITH(ledger.rolled_out(1, {11}), Catch::Contains("rank 1 rolled out group 11, which was assigned to rank 0"));
  CHECK_THROWS_WITH(ledger.trained(1, {13}), Catch::Contains("rank 1 trains group 13, which rank 1 has not rolled out"));
  CHECK_THROWS_WITH(ledger.close_round(), Catch::Contains("step 7: group 10, assigned to rank 0, was not rolled out"));
  ledger.rolled_out(0, {10, 11});
  CHECK_THROWS_WITH(ledger.rolled_out(0, {10}), Catch::Contains("rank 0 rolled out group 10 twice"));
  ledger.rolled_out(1, {12, 13});
  ledger.trained(0, {10, 11, 12});
  CHECK_THROWS_WITH(ledger.trained(1, {12}), Catch::Contains("rank 1 trains group 12, which another rank trains too"));
  CHECK_THROWS_WITH(ledger.close_round(), Catch::Contains("group 13, rolled out by rank 1, is trained by nobody"));
  ledger.trained(1, {13});
  ledger.close_round();
  CHECK_THROWS_WITH(ledger.trained(1, {13}), Catch::Contains("rank 1 trains group 13, which was trained before"));
}

}  // namespace cohort::roles
