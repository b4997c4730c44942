#include "core/model/shared_experts.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/base/error.h"
#include "kernels/moe_experts/moe_experts.h"

namespace cohort::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;
using Tensors = std::vector<at::Tensor>;  // one for each member

/// What a member sends where: (token, slot) pairs n·K + slot, ascending.
struct Dispatch {
  Tensors pairs, tokens, experts;  ///< experts: numbered within the receiver's run
};

Dispatch dispatch(const at::Tensor& experts_NK, int64_t members, int64_t run) {
  std::vector<std::vector<int64_t>> pairs(static_cast<size_t>(members));
  const int64_t* expert = experts_NK.data_ptr<int64_t>();
  for (int64_t pair = 0; pair < experts_NK.numel(); ++pair) pairs.at(static_cast<size_t>(expert[pair] / run)).push_back(pair);
  Dispatch out;
  for (const auto& list : pairs) {
    const at::Tensor index = at::tensor(list, at::kLong);
    out.pairs.push_back(index);
    out.tokens.push_back(at::floor_divide(index, experts_NK.size(1)));
    out.experts.push_back(at::remainder(experts_NK.view({-1}).index_select(0, index), run));
  }
  return out;
}

Tensors pick(const at::Tensor& rows, const Tensors& indices) {
  Tensors out;
  for (const at::Tensor& index : indices) out.push_back(rows.index_select(0, index));
  return out;
}

/// The inverse: rows [P, D] from those of each member.
at::Tensor put(const Tensors& rows, const Tensors& indices, int64_t count) {
  at::Tensor out = at::empty({count, rows.front().size(1)}, rows.front().options());
  for (size_t member = 0; member < rows.size(); ++member) out.index_copy_(0, indices[member], rows[member]);
  return out;
}

/// The i-th of `members` runs of a stack [E, …].
at::Tensor run_of(const at::Tensor& stack, int64_t i, int64_t members) {
  const int64_t run = stack.size(0) / members;
  return stack.narrow(0, i * run, run);
}

/// One call of run_shared_experts, from its forward to its backward pass. A row that is away has one expert and the weight 1.
class SharedExperts final : public torch::CustomClassHolder {
 public:
  SharedExperts(const Parameter& gate, const Parameter& up, const Parameter& down, ComputeType type, ExpertExchange& exchange)
      : exchange_(exchange) {
    const int64_t members = exchange.size();
    const auto mine = [&](const Parameter& p) { return round_to(run_of(p.value.detach(), exchange.index(), members), type); };
    weights_ = {mine(gate), mine(up), mine(down)};
    for (int64_t i = 0; i < members; ++i)
      grads_.push_back({run_of(gate.grad, i, members), run_of(up.grad, i, members), run_of(down.grad, i, members)});
  }

  at::Tensor forward(const at::Tensor& x, const at::Tensor& experts, const at::Tensor& weights, bool record) {
    dispatch_ = dispatch(experts, exchange_.size(), weights_.gate.size(0));
    const Tensors ids = exchange_.swap(dispatch_.experts), rows = exchange_.swap(pick(x, dispatch_.tokens));
    tapes_.resize(rows.size());
    Tensors outputs;
    for (size_t i = 0; i < rows.size(); ++i) {
      if (ids[i].numel() != rows[i].size(0)) throw Fault("experts: a member sent rows without experts");
      outputs.push_back(kernels::moe_experts(rows[i], ids[i].view({-1, 1}), ones(rows[i]), weights_, record ? &tapes_[i] : nullptr));
    }
    y_NKD_ = put(exchange_.swap(outputs), dispatch_.pairs, experts.numel()).view({experts.size(0), experts.size(1), x.size(1)});
    return kernels::combine_slots(y_NKD_, weights);
  }

  kernels::ExpertGrads backward(const at::Tensor& dy, const at::Tensor& weights) {
    const at::Tensor dy_PD = (dy.unsqueeze(1) * weights.unsqueeze(2)).view({-1, dy.size(1)});
    const Tensors rows = exchange_.swap(pick(dy_PD, dispatch_.pairs));
    Tensors inputs;
    for (size_t i = 0; i < rows.size(); ++i) {
      if (rows[i].size(0) != tapes_[i].y_NKD.size(0)) throw Fault("experts: a member sent gradients of other rows");
      inputs.push_back(kernels::moe_experts_backward(rows[i], ones(rows[i]), weights_, tapes_[i], grads_[i]).dx);
    }
    const at::Tensor dx_NKD = put(exchange_.swap(inputs), dispatch_.pairs, dy_PD.size(0)).view_as(y_NKD_);
    return {kernels::combine_slots(dx_NKD, {}), kernels::slot_weight_gradient(dy, y_NKD_)};
  }

 private:
  static at::Tensor ones(const at::Tensor& rows) { return at::ones({rows.size(0), 1}, rows.options()); }

  ExpertExchange& exchange_;
  kernels::ExpertWeights weights_;             // of my experts
  std::vector<kernels::ExpertWeights> grads_;  // of my experts, by whose tokens
  Dispatch dispatch_;                          // of my tokens
  std::vector<kernels::ExpertTape> tapes_;     // of my experts, by whose tokens
  at::Tensor y_NKD_;                           // of my tokens
};

struct SharedExpertsFunction : Function<SharedExpertsFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weights, const at::Tensor& experts,
                            const at::Tensor& gate_leaf, c10::intrusive_ptr<SharedExperts> shared) {
    (void)gate_leaf;  // an input that requires a gradient, so that backward runs even for a first layer
    ctx->saved_data["shared"] = c10::IValue::make_capsule(shared);
    ctx->save_for_backward({weights});
    return shared->forward(x, experts, weights, true);
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const auto target = ctx->saved_data["shared"].toCapsule();
    auto g = static_cast<SharedExperts*>(target.get())->backward(dy[0].contiguous(), ctx->get_saved_variables()[0]);
    return {g.dx, g.dweights, {}, {}, {}};
  }
};

}  // namespace

at::Tensor run_shared_experts(const at::Tensor& x, const at::Tensor& experts, const at::Tensor& weights, const Parameter& gate,
                              const Parameter& up, const Parameter& down, ComputeType type, ExpertExchange& exchange) {
  auto shared = c10::make_intrusive<SharedExperts>(gate, up, down, type, exchange);
  const at::Tensor rows = round_to(x, type).contiguous(), scale = weights.contiguous();
  if (!at::GradMode::is_enabled()) return round_to(shared->forward(rows, experts, scale, false), type);
  return round_to(SharedExpertsFunction::apply(rows, scale, experts, gate.value, shared), type);
}

}  // namespace cohort::model
