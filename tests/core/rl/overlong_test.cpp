#include "core/rl/overlong.h"

#include "tests/core/rl/rl_fixture.h"

using namespace cohort;

TEST_CASE("truncated answers leave the loss", "[rl]") {
  const rl::Packing packing = rl::Packing::from_lengths({2, 1, 2});
  const at::Tensor truncated = test::integers({0, 1, 1}).to(at::kBool);
  CHECK(at::equal(rl::overlong_keep(truncated, packing), test::tensor(std::vector<double>{1, 1, 0, 0, 0}, at::kFloat)));
}
