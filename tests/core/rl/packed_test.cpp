#include "core/rl/packed.h"

#include "tests/core/rl/rl_fixture.h"

using namespace cohort;
using cohort::rl::Packing;
using cohort::test::integers;
using cohort::test::tensor;

TEST_CASE("a packing knows the answer of each token", "[rl]") {
  const Packing packing = Packing::from_lengths({2, 0, 3});
  CHECK(packing.sequences == 3);
  CHECK(packing.tokens() == 5);
  CHECK(at::equal(packing.sequence_N, integers({0, 0, 2, 2, 2})));
  const at::Tensor values = tensor(std::vector<double>{1, 2, 3, 4, 8});
  CHECK(at::equal(packing.sum(values), tensor(std::vector<double>{3, 0, 15})));
  CHECK(at::equal(packing.mean(values), tensor(std::vector<double>{1.5, 0, 5})));
  CHECK(at::equal(packing.spread(tensor(std::vector<double>{7, 8, 9})), tensor(std::vector<double>{7, 7, 9, 9, 9})));
}

TEST_CASE("a packing without tokens is fine", "[rl]") {
  for (const std::vector<int64_t>& lengths : {std::vector<int64_t>{}, std::vector<int64_t>{0, 0}}) {
    const Packing packing = Packing::from_lengths(lengths);
    CHECK(packing.tokens() == 0);
    CHECK(at::equal(packing.mean(at::zeros({0}, at::kFloat)), at::zeros({packing.sequences}, at::kDouble)));
  }
}
