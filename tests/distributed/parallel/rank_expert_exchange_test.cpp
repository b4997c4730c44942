#include "distributed/parallel/rank_expert_exchange.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "tests/distributed/worlds.h"

namespace cohort::parallel {
namespace {

using comm::Communicator;
using test::contains;
using test::expect;
using test::fault_of;

/// Rank i sends rank j (i + 2 j) % 3 rows, each (i, j, row).
at::Tensor rows(int from, int to, at::ScalarType type) {
  const int64_t count = (from + 2 * to) % 3;
  at::Tensor out = at::empty({count, 3}, type);
  for (int64_t i = 0; i < count; ++i) out[i].copy_(at::tensor(std::vector<double>{1.0 * from, 1.0 * to, static_cast<double>(i)}));
  return out;
}

}  // namespace

TEST_CASE("rows of any number, none too, come from the rank that sent them") {
  test::everywhere([](Communicator world) {
    RankExpertExchange exchange(world);
    expect(exchange.index() == world.rank() && exchange.size() == world.size(), "a rank's place");
    for (const at::ScalarType type : {at::kFloat, at::kLong}) {
      std::vector<at::Tensor> to_each;
      for (int to = 0; to < world.size(); ++to) to_each.push_back(rows(world.rank(), to, type));
      const std::vector<at::Tensor> received = exchange.swap(to_each);
      expect(received.size() == to_each.size(), "one tensor of each rank");
      for (int from = 0; from < world.size(); ++from) {
        const at::Tensor& got = received[static_cast<size_t>(from)];
        expect(got.scalar_type() == type && at::equal(got, rows(from, world.rank(), type)), "what the rank sent");
      }
    }
    expect(!exchange.any(false) && exchange.any(true), "all say the same");
    expect(exchange.any(world.rank() == world.size() - 1), "one rank is enough");
  });
}

TEST_CASE("rows of another width are a fault") {
  const std::string fault = fault_of([] {
    comm::run_on_threads(2, [](Communicator world) {
      const at::Tensor mine = at::zeros({1, world.rank() == 0 ? 3 : 2});
      RankExpertExchange(world).swap({mine, mine});
    });
  });
  CHECK(contains(fault, "bytes, which are not rows of"));
}

}  // namespace cohort::parallel
