#pragma once
/// Who does what. In placement `colocated` every rank rolls out and then trains, and rank 0 also coordinates.

#include <string>
#include <vector>

namespace cohort::roles {

struct Roles {
  bool coordinator = false;  ///< deals out groups, keeps the ledger
  bool rollout = false;      ///< samples and scores the groups it was given
  bool trainer = false;      ///< trains the groups it owns
};

/// Roles of one of `ranks` ranks in placement colocated. Pure; 0 ≤ rank < ranks.
Roles colocated_roles(int rank, int ranks);

/// "rank 0: coordinator rollout trainer (node-a)", for the log and the plan.
std::string describe_roles(int rank, const Roles& roles, const std::string& host);

/// One such line per rank; hosts[i] is the machine of rank i.
std::vector<std::string> describe_colocated(const std::vector<std::string>& hosts);

}  // namespace cohort::roles
