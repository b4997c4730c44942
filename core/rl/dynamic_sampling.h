#pragma once
/// Dynamic sampling (DAPO, arXiv 2503.14476 §3.2): only groups with 0 < #correct < G have a gradient, so others are replaced by sampling
/// further questions, at most max_num_gen_batches rounds per step.

#include <string_view>
#include <vector>

namespace cohort::records {
class Group;
}

namespace cohort::rl {

/// Whether the values differ (std > 0, with 1e-8 of slack for sums of rewards). False for fewer than two.
bool is_informative(const std::vector<double>& values);

/// The same for a group under filter_groups.metric: "acc" looks at verifier outcomes (correct or wrong; undecided answers are left out),
/// "seq_reward" at total rewards. Throws Fault for another name.
bool is_informative(const records::Group& group, std::string_view metric);

}  // namespace cohort::rl
