#include "distributed/roles/role.h"

#include <fmt/format.h>

#include "core/base/error.h"

namespace cohort::roles {

Roles roles_of(int rank, int ranks, int rollout_ranks) {
  if (rank < 0 || rank >= ranks) throw Fault(fmt::format("there is no rank {} of {}", rank, ranks));
  if (rollout_ranks < 0 || rollout_ranks >= ranks) throw Fault(fmt::format("{} of {} ranks cannot only roll out", rollout_ranks, ranks));
  if (rollout_ranks == 0) return {.coordinator = rank == 0, .rollout = true, .trainer = true};
  const bool rolls_out = rank >= ranks - rollout_ranks;
  return {.coordinator = rank == 0, .rollout = rolls_out, .trainer = !rolls_out};
}

std::string describe_roles(int rank, const Roles& roles, const std::string& host) {
  std::string line = fmt::format("rank {}:", rank);
  if (roles.coordinator) line += " coordinator";
  if (roles.rollout) line += " rollout";
  if (roles.trainer) line += " trainer";
  return line + " (" + host + ")";
}

std::vector<std::string> describe_ranks(const std::vector<std::string>& hosts, int rollout_ranks) {
  std::vector<std::string> lines;
  const int ranks = static_cast<int>(hosts.size());
  for (int rank = 0; rank < ranks; ++rank) {
    lines.push_back(describe_roles(rank, roles_of(rank, ranks, rollout_ranks), hosts[static_cast<size_t>(rank)]));
  }
  return lines;
}

}  // namespace cohort::roles
