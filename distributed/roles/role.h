#pragma once
/// Who does what. In placement `colocated` every rank rolls out and then trains; in placement `split` the last ranks roll out and the
/// others train. Rank 0 also coordinates.

#include <string>
#include <vector>

namespace cohort::roles {

struct Roles {
  bool coordinator = false;  ///< deals out groups, keeps the ledger
  bool rollout = false;      ///< samples and scores the groups it was given
  bool trainer = false;      ///< trains the groups it owns
};

/// Roles of one of `ranks` ranks, of which `rollout_ranks` only roll out; 0: placement colocated. Pure; 0 ≤ rank < ranks, and somebody
/// trains.
Roles roles_of(int rank, int ranks, int rollout_ranks);

/// "rank 0: coordinator rollout trainer (node-a)", for the log and the plan.
std::string describe_roles(int rank, const Roles& roles, const std::string& host);

/// One such line per rank; hosts[i] is the machine of rank i.
std::vector<std::string> describe_ranks(const std::vector<std::string>& hosts, int rollout_ranks);

}  // namespace cohort::roles
