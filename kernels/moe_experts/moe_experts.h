#pragma once
/// The routed experts of a mixture-of-experts layer: y_n = Σ_slot w[n,slot] · SwiGLU_{e(n,slot)}(x_n). Dropless.
///
/// Tokens are gathered by expert (ascending token index), each expert runs one dense SwiGLU on its rows, and results are combined per token
/// in slot order, so a token's bits do not depend on which other tokens visit the same expert.

#include <ATen/core/Tensor.h>

#include <vector>

namespace cohort::kernels {

/// Stacked weights: gate, up [E, I, D]; down [E, D, I].
struct ExpertWeights {
  at::Tensor gate, up, down;
};

/// What the backward pass needs: rows of each expert and its intermediate values.
struct ExpertTape {
  std::vector<std::vector<int64_t>> pairs;  ///< per expert: n·K + slot, ascending
  std::vector<at::Tensor> x, gate, up, hidden;
  at::Tensor y_NKD;  ///< each expert's output before weighting
};

/// x [N, D], experts [N, K] int64, weights [N, K] → [N, D]. tape may be null (no gradient wanted).
at::Tensor moe_experts(const at::Tensor& x, const at::Tensor& experts, const at::Tensor& weights, const ExpertWeights& w, ExpertTape* tape);

struct ExpertGrads {
  at::Tensor dx, dweights;
};
/// Adds to the weight gradients (same shapes as w), rows in ascending token order.
ExpertGrads moe_experts_backward(const at::Tensor& dy, const at::Tensor& weights, const ExpertWeights& w, const ExpertTape& tape,
                                 const ExpertWeights& weight_grads);

/// The tokens' own part of both, for callers whose experts run elsewhere. y [N, K, D] are the experts' outputs before weighting.
/// out[n] = Σ_slot weights[n, slot] · y[n, slot], slots ascending → [N, D]; undefined weights are 1.
at::Tensor combine_slots(const at::Tensor& y_NKD, const at::Tensor& weights_NK);
/// Its gradient by the weights: dy [N, D] → [N, K].
at::Tensor slot_weight_gradient(const at::Tensor& dy_ND, const at::Tensor& y_NKD);

}  // namespace cohort::kernels
