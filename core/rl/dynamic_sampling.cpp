#include "core/rl/dynamic_sampling.h"

#include <algorithm>
#include <string>

#include "core/base/error.h"
#include "core/records/records.pb.h"

namespace cohort::rl {

bool is_informative(const std::vector<double>& values) {
  constexpr double kSlack = 1e-8;
  if (values.size() < 2) return false;
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  return *high - *low > kSlack;
}

bool is_informative(const records::Group& group, std::string_view metric) {
  std::vector<double> values;
  for (const records::Sample& sample : group.samples()) {
    if (metric == "seq_reward") {
      values.push_back(sample.total_reward());
    } else if (metric == "acc") {
      if (sample.outcome() == records::CORRECT) values.push_back(1.0);
      if (sample.outcome() == records::WRONG) values.push_back(0.0);
    } else {
      throw Fault("unknown filter_groups.metric '" + std::string(metric) + "'");
    }
  }
  return is_informative(values);
}

}  // namespace cohort::rl
