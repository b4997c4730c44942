#pragma once
/// Some ranks of a group as a group of their own, over the same transport.

#include <memory>
#include <vector>

#include "distributed/comm/transport.h"

namespace cohort::comm {

/// A transport among `members` (ranks of `whole`, ascending, this rank among them). Rank r of the subgroup is members[r]. It has no
/// connections of its own: messages go through `whole` on a channel that belongs to `id`, so calls of the subgroup and of the whole do not
/// mix. Subgroups whose members overlap need different ids, 0 ≤ id ≤ kMaxSubgroup. Not collective; sends nothing. Faults name ranks of the
/// whole, the deadline is that of the whole, and a failure in either breaks both.
std::shared_ptr<Transport> make_subgroup(std::shared_ptr<Transport> whole, std::vector<int> members, int id);

inline constexpr int kMaxSubgroup = 2000;  ///< MPI promises tags up to 32767

}  // namespace cohort::comm
