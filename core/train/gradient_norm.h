#pragma once
/// Norm of the flat gradient, in an order of additions that several processes can share.
///
/// The flat parameters are cut into `slots` parts (slot_range of gradient_tree.h). Squares are added in double inside each part in index
/// order, then the parts' sums in order. A process that holds some of the parts (train/optimizer.h) can add up those: the bits of the
/// norm do not depend on who adds what.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace cohort::train {

/// Σ g² of each of the parts [range.first, range.second) of `slots`. Only their elements are read.
std::vector<double> squares_by_slot(const at::Tensor& gradient, int64_t slots, std::pair<int64_t, int64_t> range);

/// sqrt of all parts' sums, added in order.
double norm_of(const std::vector<double>& squares);

}  // namespace cohort::train
