#pragma once
/// model::ParameterSharding over the ranks that train.
///
/// Consumes: numbers of the slices of other ranks. Waits for: the ranks whose slices it needs, and those that need its slice; in any, for
/// all. Unblocked by: the slowest of them, or the deadline. Numbers go from the owner's memory to where they are used, without a copy
/// between; an owner sends to each rank in turn, so with many ranks its link bounds a gather.

#include <vector>

#include "core/model/parameter_sharding.h"
#include "distributed/comm/communicator.h"

namespace cohort::parallel {

class RankParameterSharding final : public model::ParameterSharding {
 public:
  explicit RankParameterSharding(comm::Communicator group);

  int64_t index() const override { return group_.rank(); }
  int64_t size() const override { return group_.size(); }
  Range slice(int64_t length) const override;
  void gather(at::Tensor flat, const std::vector<Range>& wanted) override;
  bool any(bool mine) override;

 private:
  comm::Communicator group_;
};

}  // namespace cohort::parallel
