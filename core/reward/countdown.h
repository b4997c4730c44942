#pragma once
/// The countdown puzzle: reach a target with each given number exactly once.

#include <string_view>

#include "core/records/records.pb.h"

namespace cohort::reward {

/// `ground_truth` is "TARGET;N,N,…". See verifier.h for what is accepted.
records::Outcome verify_countdown(std::string_view ground_truth, std::string_view answer);

}  // namespace cohort::reward
