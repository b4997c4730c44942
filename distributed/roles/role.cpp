#include "distributed/roles/role.h"

#include <fmt/format.h>

#include "core/base/error.h"

namespace cohort::roles {

Roles colocated_roles(int rank, int ranks) {
  if (rank < 0 || rank >= ranks) throw Fault(fmt::format("there is no rank {} of {}", rank, ranks));
  return {.coordinator = rank == 0, .rollout = true, .trainer = true};
}

std::string describe_roles(int rank, const Roles& roles, const std::string& host) {
  std::string line = fmt::format("rank {}:", rank);
  if (roles.coordinator) line += " coordinator";
  if (roles.rollout) line += " rollout";
  if (roles.trainer) line += " trainer";
  return line + " (" + host + ")";
}

std::vector<std::string> describe_colocated(const std::vector<std::string>& hosts) {
  std::vector<std::string> lines;
  const int ranks = static_cast<int>(hosts.size());
  for (int rank = 0; rank < ranks; ++rank) {
    lines.push_back(describe_roles(rank, colocated_roles(rank, ranks), hosts[static_cast<size_t>(rank)]));
  }
  return lines;
}

}  // namespace cohort::roles
