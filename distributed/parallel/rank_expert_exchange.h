#pragma once
/// model::ExpertExchange over the expert axis of a mesh.
///
/// Consumes: rows for the experts of other ranks of the group. Waits for: all of the group, in every call. Unblocked by: the slowest of
/// them, or the deadline. Sends a row once for each of its slots, fp32.

#include <vector>

#include "core/model/expert_exchange.h"
#include "distributed/comm/communicator.h"

namespace cohort::parallel {

class RankExpertExchange final : public model::ExpertExchange {
 public:
  /// `group`: the ranks along the axis ep (mesh::make_groups).
  explicit RankExpertExchange(comm::Communicator group);

  int64_t index() const override { return group_.rank(); }
  int64_t size() const override { return group_.size(); }
  /// Fault when a rank sends something that is not whole rows of the width of mine.
  std::vector<at::Tensor> swap(const std::vector<at::Tensor>& to_each) override;
  bool any(bool mine) override;

 private:
  comm::Communicator group_;
};

}  // namespace cohort::parallel
