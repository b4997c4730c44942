#pragma once
/// The feed-forward half of a block: a SwiGLU, or a mixture of SwiGLU experts with shared ones.

#include <memory>
#include <string>
#include <vector>

#include "core/model/layers/attention.h"

namespace cohort::model {

/// What a mixture layer reports and adds to the loss while training. One per model; null in sampling.
struct MoeTrace {
  double balance_weight = 0.0;   ///< factor on the sequence-wise balance loss (alpha over the number of sequences of the whole batch)
  at::Tensor balance_loss;       ///< scalar with gradient; undefined until a layer adds to it
  std::vector<at::Tensor> load;  ///< per mixture layer: tokens per expert [E], counts as fp32
};

class FeedForward {
 public:
  virtual ~FeedForward() = default;
  virtual at::Tensor forward(const at::Tensor& x_ND, const ForwardContext& context, MoeTrace* trace) const = 0;
  /// Selection bias [E] of a mixture layer (e_score_correction_bias), undefined elsewhere. No gradient; moved by update_router_bias.
  virtual at::Tensor router_bias() const { return {}; }
  /// The routed experts' parameters, one run of experts after the other; none elsewhere.
  virtual std::vector<size_t> expert_parameters() const { return {}; }
};

/// `prefix` is "model.layers.3.mlp.".
std::unique_ptr<FeedForward> make_feed_forward(const Architecture& a, int64_t layer, const std::string& prefix, ParameterSet& set);

/// Auxiliary-loss-free balancing (DeepSeek-V3 report §2.1.2): b_i += rate · sign(mean load - load_i). In place.
void update_router_bias(const at::Tensor& bias_E, const at::Tensor& load_E, double rate);

}  // namespace cohort::model
