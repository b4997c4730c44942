#include "core/train/gradient_tree.h"

#include <ATen/ATen.h>

#include "core/base/error.h"

namespace cohort::train {

int64_t slot_of(int64_t i, int64_t count, int64_t slots) {
  int64_t slot = i * slots / count;  // never too large, because its range begins at or before i
  while (slot_range(count, slots, slot).second <= i) ++slot;
  return slot;
}

void GradientTree::add(const at::Tensor& part) {
  // The first part is at the bottom of the stack and collects the others.
  stack_.emplace_back(1, stack_.empty() && place_.defined() ? place_.copy_(part) : part.clone());
  while (stack_.size() > 1 && stack_[stack_.size() - 2].first == stack_.back().first) {
    stack_[stack_.size() - 2].second.add_(stack_.back().second);
    stack_[stack_.size() - 2].first *= 2;
    stack_.pop_back();
  }
}

at::Tensor GradientTree::sum() {
  if (stack_.size() != 1) throw Fault("gradient tree: the number of parts is not a power of two");
  return stack_.front().second;
}

}  // namespace cohort::train
