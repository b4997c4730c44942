#pragma once
/// The kernels as differentiable functions.
///
/// Two departures from ordinary autograd, both for exactness: weight gradients are added by the kernels straight into Parameter::grad, row
/// after row, so that several micro-batches give the bits of one; and without a gradient (sampling, evaluation) the kernels are called
/// directly. Shapes as in kernels/*.h.

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "core/model/parameters.h"
#include "kernels/moe_route/moe_route.h"
#include "kernels/rope/rope.h"

namespace cohort::model {

/// How matrix products are computed. kBFloat16 rounds their operands and results to bf16 (accumulation stays fp32); router, norms,
/// softmax, LM head and log-probabilities are fp32 in both.
enum class ComputeType { kFloat32, kBFloat16 };
/// x as an operand or a result of a matrix product; undefined stays undefined.
at::Tensor round_to(const at::Tensor& x, ComputeType type);

at::Tensor embed(const at::Tensor& ids_N, const Parameter& table);
at::Tensor linear(const at::Tensor& x, const Parameter& weight, const Parameter* bias, ComputeType type);
/// The rows [first, first + count) of each head of `weight` [H·rows, K]: forward x [N, H, K] → [N, H, count]; `transposed` multiplies by
/// the slice from the other side: x [N, H, count] → [N, H, K]. For the two halves of MLA's kv_b_proj.
at::Tensor linear_per_head(const at::Tensor& x_NHK, const Parameter& weight, int64_t heads, int64_t first, int64_t count, bool transposed,
                           ComputeType type);
at::Tensor rms_norm(const at::Tensor& x_ND, const Parameter& weight, double eps);
at::Tensor rotate(const at::Tensor& x_NHd, const at::Tensor& positions_N, const at::Tensor& cosine, const at::Tensor& sine,
                  kernels::RopeLayout layout);
at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const std::vector<int64_t>& offsets, double scale);
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

/// Differentiable in weights and scores. `chosen_NK`, where defined, is obeyed instead of selecting (kernels/moe_route).
kernels::Route route(const at::Tensor& logits_NE, const at::Tensor& bias_E, const kernels::RouteOptions& options,
                     const at::Tensor& chosen_NK = {});
at::Tensor run_experts(const at::Tensor& x_ND, const at::Tensor& experts_NK, const at::Tensor& weights_NK, const Parameter& gate,
                       const Parameter& up, const Parameter& down, ComputeType type);

/// Sequence-wise balance loss Σ_sequences Σ_i f_i P_i (DeepSeek-V3 report eq. 17-20), a scalar. The selection f carries no gradient.
at::Tensor sequence_balance(const at::Tensor& scores_NE, const at::Tensor& experts_NK, const std::vector<int64_t>& offsets);

struct LogprobEntropy {
  at::Tensor logprob_N, entropy_N;
};
LogprobEntropy token_logprob(const at::Tensor& logits_NV, const at::Tensor& ids_N, double temperature, int64_t vocab_limit);

/// Tensors of a part of the network as functions of its input x. They are defined, and as many in every run.
using Part = std::function<std::vector<at::Tensor>(const at::Tensor& x)>;

/// part(x), of which only x is kept for the backward pass (activation checkpointing, Chen et al. 2016): part is run now without recording,
/// and once more, recording, when gradients arrive. So it must give the same bits both times, and what it refers to must live until then.
/// Gradients have the bits of part(x).
std::vector<at::Tensor> recompute(const at::Tensor& x, Part part);

/// x, as another node of the graph: `action` is called when its gradient arrives, before the backward pass goes on. Without recording: x.
at::Tensor on_gradient(const at::Tensor& x, std::function<void()> action);

}  // namespace cohort::model
