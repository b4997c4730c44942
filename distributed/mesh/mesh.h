#pragma once
/// The ranks of a job as a grid with two named axes.
///
///   ep   ranks that share the experts of one copy of the model, neighbours in rank order (on one machine where they fit)
///   dp   copies: the ranks that hold the same experts, one of each row
///
/// Every rank trains a part of the batch and holds the dense part of the model, so that gradients of dense parameters are summed over all
/// ranks, those of experts over dp. rank = dp index · ep size + ep index: 6 ranks as dp 3 x ep 2 are (0,0) (0,1) (1,0) (1,1) (2,0) (2,1).

#include <string>

#include "distributed/comm/communicator.h"

namespace cohort::mesh {

struct Coordinates {
  int dp = 0;
  int ep = 0;
  bool operator==(const Coordinates&) const = default;
};

struct Mesh {
  int dp = 1;
  int ep = 1;

  int ranks() const { return dp * ep; }
  Coordinates at(int rank) const { return {rank / ep, rank % ep}; }
  int rank_of(const Coordinates& place) const { return place.dp * ep + place.ep; }
  std::string describe() const;  ///< "dp 3 x ep 2"
};

/// The mesh of `ranks` ranks with `ep` on its expert axis. InputError, as a problem of `key`, unless both are at least 1 and ep divides
/// ranks; it names every number.
Mesh make_mesh(int ranks, int ep, const std::string& key = "cluster.expert_parallel_size");

/// This rank's groups along the axes; a rank's place in a group is its coordinate. Collective over `world`. Fault unless the mesh has as
/// many ranks as world; it names every number.
struct MeshGroups {
  comm::Communicator dp;
  comm::Communicator ep;
};
MeshGroups make_groups(comm::Communicator world, const Mesh& mesh);

}  // namespace cohort::mesh
