#pragma once
/// Which experts a token visits and with what weight.
///
/// Sigmoid router with groups and a selection bias (DeepSeek-V3 report §2.1.2, "noaux_tc"; inference/model.py class Gate):
///   s = sigmoid(logits); c = s + bias; group score = sum of the two largest c in the group (the largest, without a bias); keep topk_group
///   groups, the others count as -inf; the top_k largest c win (ties: the smaller index).
/// Softmax router (DeepSeek-V2, Qwen3-MoE): s = softmax(logits), otherwise the same with no bias.
/// Weights come from the unbiased s of the chosen experts, divided by their sum if norm_topk_prob, times routed_scaling_factor.

#include <ATen/core/Tensor.h>

namespace cohort::kernels {

struct RouteOptions {
  int64_t top_k = 1;
  int64_t groups = 1;
  int64_t topk_group = 1;
  bool softmax = false;  ///< else sigmoid
  bool norm_topk_prob = true;
  double scaling_factor = 1.0;
};

struct Route {
  at::Tensor experts_NK;  ///< int64, descending by selection score
  at::Tensor weights_NK;
  at::Tensor scores_NE;  ///< s
};

/// logits [N, E]; bias [E] or undefined. Where `chosen_NK` (int64, as experts_NK) is given nothing is selected: the weights are those of
/// the given experts, so that a forward pass can be repeated with the routing of the first.
Route moe_route(const at::Tensor& logits, const at::Tensor& bias, const RouteOptions& options, const at::Tensor& chosen_NK = {});

/// d(logits) from the gradients of the weights and, where defined, of the scores.
at::Tensor moe_route_backward(const at::Tensor& dweights_NK, const at::Tensor& dscores_NE, const at::Tensor& experts_NK,
                              const at::Tensor& scores_NE, const RouteOptions& options);

}  // namespace cohort::kernels
