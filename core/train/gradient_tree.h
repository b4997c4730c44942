#pragma once
/// Sums gradients of parts of a batch in a fixed binary tree.
///
/// A batch is cut into `slots` parts by position, whatever the number of processes. Each part's gradient is computed by one process, then
/// parts are added as ((0+1)+(2+3))+… . A process that holds a contiguous, aligned power of two of them adds its own subtree; the team adds
/// the rest of the same tree. So the bits of the sum do not depend on how many processes share the work.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace cohort::train {

/// [begin, end) of `slot` when `count` items are cut into `slots` parts.
inline std::pair<int64_t, int64_t> slot_range(int64_t count, int64_t slots, int64_t slot) {
  return {count * slot / slots, count * (slot + 1) / slots};
}
/// The slot of item `i`.
int64_t slot_of(int64_t i, int64_t count, int64_t slots);

class GradientTree {
 public:
  /// `place` is where the sum comes to lie, of the size of a part; without one it is taken from the heap.
  explicit GradientTree(at::Tensor place = {}) : place_(std::move(place)) {}

  /// Takes the parts in order; the tensor is copied.
  void add(const at::Tensor& part);
  /// The sum of what was added, a power of two of parts.
  at::Tensor sum();

 private:
  at::Tensor place_;
  std::vector<std::pair<int64_t, at::Tensor>> stack_;  // (number of parts, their sum)
};

}  // namespace cohort::train
