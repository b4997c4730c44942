#include "core/rl/dynamic_sampling.h"

#include <catch2/catch.hpp>

#include "core/base/error.h"
#include "core/records/records.pb.h"

using namespace cohort;

namespace {

records::Group group_of(const std::vector<std::pair<records::Outcome, double>>& samples) {
  records::Group group;
  for (const auto& [outcome, reward] : samples) {
    records::Sample* sample = group.add_samples();
    sample->set_outcome(outcome);
    sample->set_total_reward(reward);
  }
  return group;
}

}  // namespace

TEST_CASE("only values that differ are informative", "[rl]") {
  CHECK(rl::is_informative({1, 0, 1}));
  CHECK_FALSE(rl::is_informative(std::vector<double>{1, 1, 1}));
  CHECK_FALSE(rl::is_informative({0.1 + 0.2, 0.3}));
  CHECK_FALSE(rl::is_informative(std::vector<double>{1}));
  CHECK_FALSE(rl::is_informative(std::vector<double>{}));
}

TEST_CASE("the metric says what must differ", "[rl]") {
  const records::Group same_outcome = group_of({{records::CORRECT, 1.0}, {records::CORRECT, 1.5}});
  CHECK(rl::is_informative(same_outcome, "seq_reward"));
  CHECK_FALSE(rl::is_informative(same_outcome, "acc"));
  const records::Group mixed = group_of({{records::CORRECT, 1.0}, {records::WRONG, 1.0}});
  CHECK_FALSE(rl::is_informative(mixed, "seq_reward"));
  CHECK(rl::is_informative(mixed, "acc"));
  const records::Group undecided = group_of({{records::CORRECT, 1.0}, {records::UNDECIDED, 0.0}});
  CHECK_FALSE(rl::is_informative(undecided, "acc"));
  CHECK_THROWS_AS(rl::is_informative(mixed, "length"), Fault);
}
