#pragma once
/// The routed experts of a layer when several processes share them (expert_exchange.h).
///
/// A token's row goes to the member that runs its expert, once for each of its slots, and the expert's output comes back; both again, with
/// gradients, in the backward pass. Experts treat every row by itself and the token's own process adds the slots up in order, so outputs
/// and input gradients have the bits of run_experts (functions.h). No row is dropped.

#include <ATen/core/Tensor.h>

#include "core/model/expert_exchange.h"
#include "core/model/functions.h"

namespace cohort::model {

/// As run_experts, for the rows of this member. Every member calls it, if need be with N = 0, and runs backward on the result.
///
/// Gradients of the weights: a process learns those of its own experts only, by the tokens of every member, and keeps the members apart,
/// so that they can be added in the order of the batch. A gradient buffer [E, …] has room for just that: its i-th run of E/size() experts
/// is *this* member's run, by the tokens of member i.
at::Tensor run_shared_experts(const at::Tensor& x_ND, const at::Tensor& experts_NK, const at::Tensor& weights_NK, const Parameter& gate,
                              const Parameter& up, const Parameter& down, ComputeType type, ExpertExchange& exchange);

}  // namespace cohort::model
