#include "distributed/mesh/mesh.h"

#include <fmt/format.h>

#include "core/base/error.h"

namespace cohort::mesh {

std::string Mesh::describe() const { return fmt::format("dp {} x ep {}", dp, ep); }

Mesh make_mesh(int ranks, int ep, const std::string& key) {
  if (ranks < 1 || ep < 1 || ranks % ep != 0) {
    throw InputError(fmt::format("{}: expected a divisor of the {} ranks (dp x ep = {}), found {}", key, ranks, ranks, ep));
  }
  return {ranks / ep, ep};
}

MeshGroups make_groups(comm::Communicator world, const Mesh& mesh) {
  if (mesh.dp < 1 || mesh.ep < 1 || mesh.ranks() != world.size()) {
    throw Fault(fmt::format("mesh: {} = {} ranks, but the group has {}", mesh.describe(), mesh.ranks(), world.size()));
  }
  const Coordinates mine = mesh.at(world.rank());
  comm::Communicator dp = world.split("mesh dp", mine.ep);
  comm::Communicator ep = world.split("mesh ep", mine.dp);
  return {dp, ep};
}

}  // namespace cohort::mesh
