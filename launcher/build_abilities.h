#pragma once
/// Which options of a planned layout this build can run. Read from the config structs that the trainer itself is configured with, so that
/// the answer follows the build.

#include <string>
#include <vector>

#include "launcher/cluster_plan.h"

namespace cohort::launcher {

struct Ability {
  std::string option;  ///< "cluster.expert_parallel_size: 64"
  bool supported = false;
  std::string remark;  ///< why not; may be empty
};

/// The options that `layout` needs for `work`, in a fixed order.
std::vector<Ability> abilities_for(const StageWork& work, const Layout& layout, const StageCost& cost);

}  // namespace cohort::launcher
