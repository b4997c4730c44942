#include "core/model/functions.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/attention/attention.h"
#include "kernels/embedding/embedding.h"
#include "kernels/gemm/linear.h"
#include "kernels/moe_experts/moe_experts.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/swiglu/swiglu.h"
#include "kernels/token_logprob/token_logprob.h"

namespace cohort::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

/// A tensor that autograd does not look at: it may be undefined, and no gradient flows through it.
struct Untracked {
  at::Tensor tensor;
};

ComputeType compute_type(AutogradContext* ctx) { return static_cast<ComputeType>(ctx->saved_data["type"].toInt()); }

/// Weights are rounded inside the product: a rounded copy for each token would cost more than the product itself.
bool rounds(ComputeType type) { return type == ComputeType::kBFloat16; }

struct EmbedFunction : Function<EmbedFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& table, const Untracked& ids, const Untracked& grad) {
    ctx->saved_data["ids"] = ids.tensor;
    ctx->saved_data["grad"] = grad.tensor;
    return kernels::embedding(ids.tensor, table);
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    kernels::embedding_backward(dy[0].contiguous(), ctx->saved_data["ids"].toTensor(), ctx->saved_data["grad"].toTensor());
    return {at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

struct LinearFunction : Function<LinearFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight, const Untracked& bias,
                            const Untracked& grad, const Untracked& bias_grad, ComputeType type) {
    const at::Tensor xr = round_to(x.contiguous(), type);
    ctx->save_for_backward({xr, weight});
    ctx->saved_data["grad"] = grad.tensor;
    ctx->saved_data["type"] = static_cast<int64_t>(type);
    if (bias.tensor.defined()) ctx->saved_data["bias_grad"] = bias_grad.tensor;
    return round_to(kernels::linear(xr, weight, bias.tensor, rounds(type)), type);
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor g = round_to(dy[0].contiguous(), compute_type(ctx));
    const bool biased = ctx->saved_data.count("bias_grad") > 0;
    kernels::linear_backward_weight(g, saved[0], ctx->saved_data["grad"].toTensor(),
                                    biased ? ctx->saved_data["bias_grad"].toTensor() : at::Tensor());
    at::Tensor dx = ctx->needs_input_grad(0) ? kernels::linear_backward_input(g, saved[1], rounds(compute_type(ctx))) : at::Tensor();
    return {dx, {}, {}, {}, {}, {}};
  }
};

/// The slice of kv_b_proj as [H, count, K], or [H, K, count] when transposed (a view).
at::Tensor head_slice(const at::Tensor& weight, int64_t heads, int64_t first, int64_t count, bool transposed) {
  at::Tensor slice = weight.view({heads, weight.size(0) / heads, weight.size(1)}).narrow(1, first, count);
  return transposed ? slice.transpose(1, 2) : slice;
}

struct LinearPerHeadFunction : Function<LinearPerHeadFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight, const Untracked& grad, int64_t heads,
                            int64_t first, int64_t count, bool transposed, ComputeType type) {
    const at::Tensor xr = round_to(x, type), wr = round_to(weight, type);
    ctx->save_for_backward({xr, wr});
    ctx->saved_data["grad"] = head_slice(grad.tensor, heads, first, count, transposed);
    ctx->saved_data["slice"] = std::vector<int64_t>{heads, first, count, transposed ? 1 : 0};
    ctx->saved_data["type"] = static_cast<int64_t>(type);
    return round_to(kernels::linear_per_head(xr, head_slice(wr, heads, first, count, transposed)), type);
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const auto saved = ctx->get_saved_variables();
    const auto s = ctx->saved_data["slice"].toIntVector();
    const at::Tensor g = round_to(dy[0].contiguous(), compute_type(ctx));
    kernels::linear_per_head_backward_weight(g, saved[0], ctx->saved_data["grad"].toTensor());
    return {kernels::linear_per_head_backward_input(g, head_slice(saved[1], s[0], s[1], s[2], s[3] != 0)), {}, {}, {}, {}, {}, {}, {}};
  }
};

struct RmsNormFunction : Function<RmsNormFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight, const Untracked& grad, double eps) {
    auto [y, inverse_rms] = kernels::rms_norm(x, weight, eps);
    ctx->save_for_backward({x, weight});
    ctx->saved_data["inverse_rms"] = inverse_rms;
    ctx->saved_data["grad"] = grad.tensor;
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const auto saved = ctx->get_saved_variables();
    return {kernels::rms_norm_backward(dy[0].contiguous(), saved[0], saved[1], ctx->saved_data["inverse_rms"].toTensor(),
                                       ctx->saved_data["grad"].toTensor()),
            {},
            {},
            {}};
  }
};

struct RotateFunction : Function<RotateFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& positions, const at::Tensor& cosine,
                            const at::Tensor& sine, kernels::RopeLayout layout) {
    ctx->saved_data["positions"] = positions, ctx->saved_data["cosine"] = cosine, ctx->saved_data["sine"] = sine;
    ctx->saved_data["layout"] = static_cast<int64_t>(layout);
    return kernels::rope(x, positions, cosine, sine, layout, 1.0f);
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    return {kernels::rope(dy[0].contiguous(), ctx->saved_data["positions"].toTensor(), ctx->saved_data["cosine"].toTensor(),
                          ctx->saved_data["sine"].toTensor(), static_cast<kernels::RopeLayout>(ctx->saved_data["layout"].toInt()), -1.0f),
            {},
            {},
            {},
            {}};
  }
};

struct AttendFunction : Function<AttendFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const std::vector<int64_t>& offsets, double scale) {
    ctx->save_for_backward({q, k, v});
    ctx->saved_data["offsets"] = offsets;
    ctx->saved_data["scale"] = scale;
    return kernels::attention(q, k, v, offsets, scale);
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const auto saved = ctx->get_saved_variables();
    auto g = kernels::attention_backward(dy[0].contiguous(), saved[0], saved[1], saved[2], ctx->saved_data["offsets"].toIntVector(),
                                         ctx->saved_data["scale"].toDouble());
    return {g.dq, g.dk, g.dv, {}, {}};
  }
};

struct SwigluFunction : Function<SwigluFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate, const at::Tensor& up) {
    ctx->save_for_backward({gate, up});
    return kernels::swiglu(gate, up);
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const auto saved = ctx->get_saved_variables();
    auto [dgate, dup] = kernels::swiglu_backward(dy[0].contiguous(), saved[0], saved[1]);
    return {dgate, dup};
  }
};

struct RouteFunction : Function<RouteFunction> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& logits, const Untracked& bias, const Untracked& chosen,
                               const kernels::RouteOptions& o) {
    kernels::Route r = kernels::moe_route(logits, bias.tensor, o, chosen.tensor);
    ctx->saved_data["experts"] = r.experts_NK, ctx->saved_data["scores"] = r.scores_NE.clone();
    ctx->saved_data["numbers"] = std::vector<int64_t>{o.top_k, o.groups, o.topk_group, o.softmax ? 1 : 0, o.norm_topk_prob ? 1 : 0};
    ctx->saved_data["factor"] = o.scaling_factor;
    ctx->mark_non_differentiable({r.experts_NK});
    return {r.experts_NK, r.weights_NK, r.scores_NE};
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const auto n = ctx->saved_data["numbers"].toIntVector();
    const kernels::RouteOptions o{n[0], n[1], n[2], n[3] != 0, n[4] != 0, ctx->saved_data["factor"].toDouble()};
    const at::Tensor experts = ctx->saved_data["experts"].toTensor(), scores = ctx->saved_data["scores"].toTensor();
    const at::Tensor dweights = dy[1].defined() ? dy[1].contiguous() : at::zeros(experts.sizes(), scores.options());
    return {kernels::moe_route_backward(dweights, dy[2].defined() ? dy[2].contiguous() : at::Tensor(), experts, scores, o), {}, {}, {}};
  }
};

/// The tape does not fit saved_data (it holds vectors of tensors per expert), so it travels as a custom class of its own.
struct TapeHolder : torch::CustomClassHolder {
  kernels::ExpertTape tape;
  kernels::ExpertWeights weights, grads;
};

struct ExpertsFunction : Function<ExpertsFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weights, const at::Tensor& experts,
                            const at::Tensor& gate_leaf, c10::intrusive_ptr<TapeHolder> holder) {
    (void)gate_leaf;  // an input that requires a gradient, so that backward runs even for a first layer
    ctx->saved_data["holder"] = c10::IValue::make_capsule(holder);
    ctx->save_for_backward({weights});
    return kernels::moe_experts(x.contiguous(), experts, weights.contiguous(), holder->weights, &holder->tape);
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const auto target = ctx->saved_data["holder"].toCapsule();
    auto* holder = static_cast<TapeHolder*>(target.get());
    auto g = kernels::moe_experts_backward(dy[0].contiguous(), ctx->get_saved_variables()[0].contiguous(), holder->weights, holder->tape,
                                           holder->grads);
    return {g.dx, g.dweights, {}, {}, {}};
  }
};

struct BalanceFunction : Function<BalanceFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& scores, const at::Tensor& experts,
                            const std::vector<int64_t>& offsets) {
    const int64_t e = scores.size(1), k = experts.size(1);
    at::Tensor grad = at::zeros_like(scores);
    double total = 0.0;
    for (size_t s = 0; s + 1 < offsets.size(); ++s) {
      const int64_t from = offsets[s], length = offsets[s + 1] - from;
      std::vector<double> f(static_cast<size_t>(e), 0.0);
      for (int64_t i = from * k; i < (from + length) * k; ++i)
        f[static_cast<size_t>(experts.data_ptr<int64_t>()[i])] += static_cast<double>(e) / static_cast<double>(k * length);
      for (int64_t t = from; t < from + length; ++t) {
        const float* row = scores.data_ptr<float>() + t * e;
        double sum = 0.0, inner = 0.0;
        for (int64_t j = 0; j < e; ++j) sum += row[j], inner += f[static_cast<size_t>(j)] * row[j];
        total += inner / sum / static_cast<double>(length);
        for (int64_t j = 0; j < e; ++j)
          grad.data_ptr<float>()[t * e + j] =
              static_cast<float>((f[static_cast<size_t>(j)] - inner / sum) / sum / static_cast<double>(length));
      }
    }
    ctx->saved_data["grad"] = grad;
    return at::scalar_tensor(total, at::kDouble);
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    return {ctx->saved_data["grad"].toTensor() * dy[0].item<float>(), {}, {}};
  }
};

struct TokenLogprobFunction : Function<TokenLogprobFunction> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& logits, const at::Tensor& ids, double inverse_temperature,
                               int64_t vocab_limit) {
    auto r = kernels::token_logprob(logits, ids, inverse_temperature, vocab_limit, true);
    ctx->saved_data["probs"] = r.probs_NV, ctx->saved_data["entropy"] = r.entropy_N.clone(), ctx->saved_data["ids"] = ids;
    ctx->saved_data["scale"] = inverse_temperature, ctx->saved_data["limit"] = vocab_limit;
    return {r.logprob_N, r.entropy_N};
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const kernels::TokenLogprob forward{{}, ctx->saved_data["entropy"].toTensor(), ctx->saved_data["probs"].toTensor()};
    const at::Tensor ids = ctx->saved_data["ids"].toTensor();
    const at::Tensor dlogprob = dy[0].defined() ? dy[0].contiguous() : at::zeros({ids.numel()}, at::kFloat);
    return {kernels::token_logprob_backward(dlogprob, dy[1].defined() ? dy[1].contiguous() : at::Tensor(), forward, ids,
                                            ctx->saved_data["scale"].toDouble(), ctx->saved_data["limit"].toInt()),
            {},
            {},
            {}};
  }
};

struct PartHolder : torch::CustomClassHolder {
  explicit PartHolder(Part p) : part(std::move(p)) {}
  Part part;
};

struct RecomputeFunction : Function<RecomputeFunction> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& x, c10::intrusive_ptr<PartHolder> holder) {
    ctx->save_for_backward({x});
    ctx->saved_data["part"] = c10::IValue::make_capsule(holder);
    ctx->set_materialize_grads(false);
    return holder->part(x);  // autograd is off in here
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const auto target = ctx->saved_data["part"].toCapsule();
    const at::Tensor x = ctx->get_saved_variables()[0].detach().requires_grad_(true);
    variable_list outputs, gradients;
    {
      const at::AutoGradMode record(true);
      outputs = static_cast<PartHolder*>(target.get())->part(x);
    }
    for (size_t i = dy.size(); i-- > 0;) {
      if (dy[i].defined()) {
        gradients.insert(gradients.begin(), dy[i]);
      } else {
        outputs.erase(outputs.begin() + static_cast<std::ptrdiff_t>(i));
      }
    }
    torch::autograd::backward(outputs, gradients);
    return {x.grad(), at::Tensor()};
  }
};

struct ActionHolder : torch::CustomClassHolder {
  explicit ActionHolder(std::function<void()> a) : action(std::move(a)) {}
  std::function<void()> action;
};

struct OnGradientFunction : Function<OnGradientFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, c10::intrusive_ptr<ActionHolder> holder) {
    ctx->saved_data["action"] = c10::IValue::make_capsule(holder);
    return x;
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const auto target = ctx->saved_data["action"].toCapsule();
    static_cast<ActionHolder*>(target.get())->action();
    return {dy[0], at::Tensor()};
  }
};

bool recording() { return at::GradMode::is_enabled(); }

}  // namespace

at::Tensor round_to(const at::Tensor& x, ComputeType type) {
  return type == ComputeType::kBFloat16 && x.defined() ? x.to(at::kBFloat16).to(at::kFloat) : x;
}

at::Tensor embed(const at::Tensor& ids, const Parameter& table) {
  return recording() ? EmbedFunction::apply(table.value, Untracked{ids}, Untracked{table.grad}) : kernels::embedding(ids, table.value);
}

at::Tensor linear(const at::Tensor& x, const Parameter& weight, const Parameter* bias, ComputeType type) {
  const at::Tensor b = bias ? bias->value : at::Tensor();
  if (recording())
    return LinearFunction::apply(x, weight.value, Untracked{b}, Untracked{weight.grad}, Untracked{bias ? bias->grad : at::Tensor()}, type);
  return round_to(kernels::linear(round_to(x.contiguous(), type), weight.value, b, rounds(type)), type);
}

at::Tensor linear_per_head(const at::Tensor& x, const Parameter& weight, int64_t heads, int64_t first, int64_t count, bool transposed,
                           ComputeType type) {
  if (recording()) return LinearPerHeadFunction::apply(x, weight.value, Untracked{weight.grad}, heads, first, count, transposed, type);
  return round_to(kernels::linear_per_head(round_to(x, type), head_slice(round_to(weight.value, type), heads, first, count, transposed)),
                  type);
}

at::Tensor rms_norm(const at::Tensor& x, const Parameter& weight, double eps) {
  return recording() ? RmsNormFunction::apply(x, weight.value, Untracked{weight.grad}, eps) : kernels::rms_norm(x, weight.value, eps).first;
}

at::Tensor rotate(const at::Tensor& x, const at::Tensor& positions, const at::Tensor& cosine, const at::Tensor& sine,
                  kernels::RopeLayout layout) {
  return recording() ? RotateFunction::apply(x, positions, cosine, sine, layout) : kernels::rope(x, positions, cosine, sine, layout, 1.0f);
}

at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const std::vector<int64_t>& offsets, double scale) {
  return recording() ? AttendFunction::apply(q, k, v, offsets, scale) : kernels::attention(q, k, v, offsets, scale);
}

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  return recording() ? SwigluFunction::apply(gate, up) : kernels::swiglu(gate, up);
}

kernels::Route route(const at::Tensor& logits, const at::Tensor& bias, const kernels::RouteOptions& options, const at::Tensor& chosen) {
  if (!recording()) return kernels::moe_route(logits, bias, options, chosen);
  variable_list out = RouteFunction::apply(logits, Untracked{bias}, Untracked{chosen}, options);
  return {out[0], out[1], out[2]};
}

at::Tensor run_experts(const at::Tensor& x, const at::Tensor& experts, const at::Tensor& weights, const Parameter& gate,
                       const Parameter& up, const Parameter& down, ComputeType type) {
  const kernels::ExpertWeights w{round_to(gate.value.detach(), type), round_to(up.value.detach(), type),
                                 round_to(down.value.detach(), type)};
  if (!recording()) return round_to(kernels::moe_experts(round_to(x, type), experts, weights, w, nullptr), type);
  auto holder = c10::make_intrusive<TapeHolder>();
  holder->weights = w;
  holder->grads = {gate.grad, up.grad, down.grad};
  return round_to(ExpertsFunction::apply(round_to(x, type), weights, experts, gate.value, holder), type);
}

at::Tensor sequence_balance(const at::Tensor& scores, const at::Tensor& experts, const std::vector<int64_t>& offsets) {
  return BalanceFunction::apply(scores, experts, offsets);
}

std::vector<at::Tensor> recompute(const at::Tensor& x, Part part) {
  return recording() ? RecomputeFunction::apply(x, c10::make_intrusive<PartHolder>(std::move(part))) : part(x);
}

at::Tensor on_gradient(const at::Tensor& x, std::function<void()> action) {
  return recording() ? OnGradientFunction::apply(x, c10::make_intrusive<ActionHolder>(std::move(action))) : x;
}

LogprobEntropy token_logprob(const at::Tensor& logits, const at::Tensor& ids, double temperature, int64_t vocab_limit) {
  if (!recording()) {
    auto r = kernels::token_logprob(logits, ids, 1.0 / temperature, vocab_limit, false);
    return {r.logprob_N, r.entropy_N};
  }
  variable_list out = TokenLogprobFunction::apply(logits, ids, 1.0 / temperature, vocab_limit);
  return {out[0], out[1]};
}

}  // namespace cohort::model
