#pragma once
/// The port through which a mixture layer reaches experts that other processes run (expert parallelism).
///
/// Each of size() members runs a contiguous run of the E routed experts of every layer, member i those from i·E/size() on, for the tokens
/// of all members. In one process there is no such port: a layer runs its experts itself.
///
/// All calls but index() and size() are collective and blocking: every member makes the same calls in the same order.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace cohort::model {

class ExpertExchange {
 public:
  virtual ~ExpertExchange() = default;

  virtual int64_t index() const = 0;
  virtual int64_t size() const = 0;

  /// One tensor for each member; returns what each member sent to this one. All are contiguous CPU tensors of one type and of the same
  /// sizes but for the first, which may be 0 and may differ between any two members.
  virtual std::vector<at::Tensor> swap(const std::vector<at::Tensor>& to_each) = 0;

  /// True everywhere if true anywhere.
  virtual bool any(bool mine) = 0;
};

}  // namespace cohort::model
