#pragma once
/// The port through which a model whose parameters are divided over processes (trainer.parameter_sharding) gets those of the others.
///
/// The flat parameters are cut into size() slices, one for each member, which keeps its own and has the others only while they are in use.
/// In one process there is no such port: a model has all its parameters.
///
/// gather() and any() are collective and blocking: every member makes the same calls in the same order.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace cohort::model {

class ParameterSharding {
 public:
  using Range = std::pair<int64_t, int64_t>;  ///< [first, second) of the flat parameters

  virtual ~ParameterSharding() = default;

  virtual int64_t index() const = 0;
  virtual int64_t size() const = 0;
  /// The member's slice of `length` numbers: nearly equal runs in member order.
  virtual Range slice(int64_t length) const = 0;

  /// In place: `flat`, a contiguous fp32 CPU tensor, gets on member i the numbers of wanted[i] that are not in its slice, each from the
  /// member in whose slice it is. The same `wanted` everywhere.
  virtual void gather(at::Tensor flat, const std::vector<Range>& wanted) = 0;

  /// True everywhere if true anywhere.
  virtual bool any(bool mine) = 0;
};

}  // namespace cohort::model
