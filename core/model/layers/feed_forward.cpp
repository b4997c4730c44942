#include "core/model/layers/feed_forward.h"

#include <ATen/ATen.h>

#include <optional>

#include "core/model/shared_experts.h"

namespace cohort::model {
namespace {

/// down( silu(gate(x)) ⊙ up(x) ).
class SwigluMlp final : public FeedForward {
 public:
  SwigluMlp(int64_t hidden, int64_t intermediate, bool biased, const std::string& prefix, ParameterSet& set)
      : set_(set),
        gate_(declare(prefix + "gate_proj", hidden, intermediate, biased)),
        up_(declare(prefix + "up_proj", hidden, intermediate, biased)),
        down_(declare(prefix + "down_proj", intermediate, hidden, biased)) {}

  at::Tensor forward(const at::Tensor& x, const ForwardContext& c, MoeTrace*) const override {
    return project(swiglu(project(x, gate_, c), project(x, up_, c)), down_, c);
  }

 private:
  struct Projection {
    size_t weight;
    std::optional<size_t> bias;
  };

  Projection declare(const std::string& name, int64_t in, int64_t out, bool biased) {
    Projection p{set_.declare(name + ".weight", {out, in}, Init::kNormal), {}};
    if (biased) p.bias = set_.declare(name + ".bias", {out}, Init::kZeros);
    return p;
  }

  at::Tensor project(const at::Tensor& x, const Projection& p, const ForwardContext& c) const {
    return linear(x, set_.at(p.weight), p.bias ? &set_.at(*p.bias) : nullptr, c.type);
  }

  ParameterSet& set_;
  Projection gate_, up_, down_;
};

class MixtureOfExperts final : public FeedForward {
 public:
  MixtureOfExperts(const Architecture& a, const std::string& prefix, ParameterSet& set)
      : set_(set),
        options_{a.num_experts_per_tok, a.n_group, a.topk_group, a.softmax_router, a.norm_topk_prob, a.routed_scaling_factor},
        router_(set.declare(prefix + "gate.weight", {a.n_routed_experts, a.hidden_size}, Init::kNormal)),
        gate_(
            set.declare(prefix + "experts.gate_proj.weight", {a.n_routed_experts, a.moe_intermediate_size, a.hidden_size}, Init::kNormal)),
        up_(set.declare(prefix + "experts.up_proj.weight", {a.n_routed_experts, a.moe_intermediate_size, a.hidden_size}, Init::kNormal)),
        down_(
            set.declare(prefix + "experts.down_proj.weight", {a.n_routed_experts, a.hidden_size, a.moe_intermediate_size}, Init::kNormal)) {
    if (!a.softmax_router) bias_ = at::zeros({a.n_routed_experts}, at::kFloat);
    if (a.n_shared_experts > 0)
      shared_ =
          std::make_unique<SwigluMlp>(a.hidden_size, a.n_shared_experts * a.moe_intermediate_size, false, prefix + "shared_experts.", set);
  }

  at::Tensor forward(const at::Tensor& x, const ForwardContext& c, MoeTrace* trace) const override {
    const at::Tensor logits = linear(x, set_.at(router_), nullptr, ComputeType::kFloat32);
    const kernels::Route r = route(logits, bias_, options_, c.routing ? *c.routing : at::Tensor());
    if (c.routing) *c.routing = r.experts_NK;
    if (trace) record(r, *c.offsets, *trace);
    const Parameter &gate = set_.at(gate_), &up = set_.at(up_), &down = set_.at(down_);
    const at::Tensor out = c.exchange ? run_shared_experts(x, r.experts_NK, r.weights_NK, gate, up, down, c.type, *c.exchange)
                                      : run_experts(x, r.experts_NK, r.weights_NK, gate, up, down, c.type);
    return shared_ ? out + shared_->forward(x, c, trace) : out;
  }

  at::Tensor router_bias() const override { return bias_; }
  std::vector<size_t> expert_parameters() const override { return {gate_, up_, down_}; }

 private:
  void record(const kernels::Route& r, const std::vector<int64_t>& offsets, MoeTrace& trace) const {
    at::Tensor load = at::zeros({r.scores_NE.size(1)}, at::kFloat);
    for (int64_t i = 0; i < r.experts_NK.numel(); ++i) load.data_ptr<float>()[r.experts_NK.data_ptr<int64_t>()[i]] += 1.0f;
    trace.load.push_back(load);
    if (trace.balance_weight == 0.0) return;
    const at::Tensor loss = sequence_balance(r.scores_NE, r.experts_NK, offsets) * trace.balance_weight;
    trace.balance_loss = trace.balance_loss.defined() ? trace.balance_loss + loss : loss;
  }

  ParameterSet& set_;
  kernels::RouteOptions options_;
  size_t router_, gate_, up_, down_;
  at::Tensor bias_;
  std::unique_ptr<SwigluMlp> shared_;
};

}  // namespace

std::unique_ptr<FeedForward> make_feed_forward(const Architecture& a, int64_t layer, const std::string& prefix, ParameterSet& set) {
  if (a.is_moe_layer(layer)) return std::make_unique<MixtureOfExperts>(a, prefix, set);
  return std::make_unique<SwigluMlp>(a.hidden_size, a.intermediate_size, a.mlp_bias, prefix, set);
}

void update_router_bias(const at::Tensor& bias, const at::Tensor& load, double rate) {
  const double mean = load.sum().item<double>() / static_cast<double>(load.numel());
  for (int64_t i = 0; i < bias.numel(); ++i) {
    const double gap = mean - static_cast<double>(load.data_ptr<float>()[i]);
    bias.data_ptr<float>()[i] += static_cast<float>(gap > 0 ? rate : gap < 0 ? -rate : 0.0);
  }
}

}  // namespace cohort::model
