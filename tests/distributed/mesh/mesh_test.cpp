#include "distributed/mesh/mesh.h"

#include <catch2/catch.hpp>
#include <set>
#include <vector>

#include "tests/distributed/worlds.h"

namespace cohort::mesh {
namespace {

using comm::Communicator;
using test::contains;
using test::expect;
using test::fault_of;

/// Every mesh of the ranks of `world`.
void check_groups(Communicator world) {
  for (int ep = 1; ep <= world.size(); ++ep) {
    if (world.size() % ep != 0) continue;
    const Mesh mesh = make_mesh(world.size(), ep);
    MeshGroups groups = make_groups(world, mesh);
    const Coordinates mine = mesh.at(world.rank());
    expect(groups.dp.size() == mesh.dp && groups.ep.size() == mesh.ep, "groups as long as their axes");
    expect(groups.dp.rank() == mine.dp && groups.ep.rank() == mine.ep, "places that are coordinates");
    // Both groups are used in turn, and say who is in them.
    const auto column = groups.dp.all_gather("who", std::to_string(world.rank()));
    const auto row = groups.ep.all_gather("who", std::to_string(world.rank()));
    for (int i = 0; i < mesh.dp; ++i) {
      expect(column[static_cast<size_t>(i)] == std::to_string(mesh.rank_of({i, mine.ep})), "ranks of the same experts");
    }
    for (int i = 0; i < mesh.ep; ++i) {
      expect(row[static_cast<size_t>(i)] == std::to_string(mesh.rank_of({mine.dp, i})), "ranks of the same copy");
    }
    // A sum over one axis and then the other is a sum over all: small whole numbers, exact in any order.
    std::vector<float> value{static_cast<float>(world.rank() + 1)};
    groups.ep.sum("value", value);
    groups.dp.sum("value", value);
    expect(value[0] == static_cast<float>(world.size() * (world.size() + 1) / 2), "the sum over all ranks");
  }
  const Mesh other{world.size() + 1, 1};
  expect(contains(fault_of([&] { make_groups(world, other); }), "dp " + std::to_string(other.dp) + " x ep 1 = " + std::to_string(other.dp) +
                                                                    " ranks, but the group has " + std::to_string(world.size())),
         "every number");
}

}  // namespace

TEST_CASE("ranks and coordinates are each other's inverse, and neighbours share the experts") {
  for (const Mesh& mesh : {Mesh{1, 1}, Mesh{3, 2}, Mesh{2, 4}, Mesh{1, 5}, Mesh{6, 1}}) {
    std::set<std::pair<int, int>> places;
    for (int rank = 0; rank < mesh.ranks(); ++rank) {
      const Coordinates place = mesh.at(rank);
      CHECK((place.dp >= 0 && place.dp < mesh.dp && place.ep >= 0 && place.ep < mesh.ep));
      CHECK(mesh.rank_of(place) == rank);
      places.insert({place.dp, place.ep});
    }
    CHECK(places.size() == static_cast<size_t>(mesh.ranks()));
  }
  CHECK(Mesh{3, 2}.at(1) == Coordinates{0, 1});
  CHECK(Mesh{3, 2}.at(4) == Coordinates{2, 0});
  CHECK(Mesh{3, 2}.describe() == "dp 3 x ep 2");
}

TEST_CASE("a mesh is made of all ranks or not at all") {
  CHECK((make_mesh(8, 2).dp == 4 && make_mesh(8, 2).ep == 2));
  CHECK((make_mesh(1, 1).dp == 1 && make_mesh(7, 7).dp == 1));
  for (const auto& [ranks, ep] : {std::pair{6, 4}, {2, 4}, {4, 0}, {4, -2}, {0, 1}}) {
    CAPTURE(ranks, ep);
    const std::string wanted = "cluster.expert_parallel_size: expected a divisor of the " + std::to_string(ranks) +
                               " ranks (dp x ep = " + std::to_string(ranks) + "), found " + std::to_string(ep);
    CHECK_THROWS_WITH(make_mesh(ranks, ep), wanted);
    CHECK_THROWS_AS(make_mesh(ranks, ep), InputError);
  }
}

TEST_CASE("groups along the axes hold the right ranks, on threads and under MPI") {
  check_groups(Communicator::self());
  for (int ranks : {2, 3, 4, 6, 8}) comm::run_on_threads(ranks, check_groups, test::impatient());
  test::on_mpi(check_groups);
}

}  // namespace cohort::mesh
