#include "core/model/layers/feed_forward.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <catch2/catch.hpp>

#include "core/model/architecture.h"

namespace cohort::model {
namespace {

at::Tensor floats(std::vector<float> values) { return at::tensor(values); }
at::Tensor ids(std::vector<int64_t> values, at::IntArrayRef shape) { return at::tensor(values).view(shape); }

/// Σ_sequences Σ_i f_i P_i in double, as the report writes it.
double balance_by_definition(const at::Tensor& scores, const at::Tensor& experts, const std::vector<int64_t>& offsets) {
  const int64_t e = scores.size(1), k = experts.size(1);
  double loss = 0.0;
  for (size_t s = 0; s + 1 < offsets.size(); ++s) {
    const int64_t t = offsets[s + 1] - offsets[s];
    const at::Tensor rows = scores.narrow(0, offsets[s], t).to(at::kDouble), chosen = experts.narrow(0, offsets[s], t);
    const at::Tensor share = (rows / rows.sum(-1, true)).mean(0);
    for (int64_t i = 0; i < e; ++i)
      loss += chosen.eq(i).sum().item<double>() * static_cast<double>(e) / static_cast<double>(k * t) * share[i].item<double>();
  }
  return loss;
}

Architecture small(const char* preset) {
  Architecture a = architecture_preset(preset);
  a.vocab_size = 32;
  return a;
}

}  // namespace

TEST_CASE("the selection bias moves by the rate towards the mean load") {
  at::Tensor bias = floats({0.5f, -0.25f, 0.0f, 0.125f});
  update_router_bias(bias, floats({10, 2, 5, 3}), 0.25);  // mean 5
  CHECK(at::equal(bias, floats({0.25f, 0.0f, 0.0f, 0.375f})));
  update_router_bias(bias, floats({1, 1, 1, 1}), 0.25);
  CHECK(at::equal(bias, floats({0.25f, 0.0f, 0.0f, 0.375f})));
  update_router_bias(bias, floats({0, 0, 0, 9}), 0.0);
  CHECK(at::equal(bias, floats({0.25f, 0.0f, 0.0f, 0.375f})));
}

TEST_CASE("the balance loss of a sequence, worked out by hand") {
  // Two tokens, one choice each of two experts: f = (2/2)·(1, 1); P = (0.75 + 0.5)/2, (0.25 + 0.5)/2; Σ f P = 1.
  const at::Tensor even = at::tensor(std::vector<float>{0.6f, 0.2f, 0.4f, 0.4f}).view({2, 2});
  CHECK(sequence_balance(even, ids({0, 1}, {2, 1}), {0, 2}).item<double>() == Approx(1.0));
  // Both tokens choose expert 0: f = (2, 0); loss 2 · 0.625.
  CHECK(sequence_balance(even, ids({0, 0}, {2, 1}), {0, 2}).item<double>() == Approx(1.25));
  // As two sequences of one token: 2 · 0.75 + 2 · 0.5.
  CHECK(sequence_balance(even, ids({0, 0}, {2, 1}), {0, 1, 2}).item<double>() == Approx(2.5));
}

TEST_CASE("the balance loss equals its definition and its gradient equals finite differences") {
  const std::vector<int64_t> offsets = {0, 4, 5, 12};
  at::Tensor scores = at::rand({12, 6}) + 0.05;
  const at::Tensor experts = std::get<1>(at::rand({12, 6}).topk(2, -1)).contiguous();
  scores.requires_grad_(true);
  const at::Tensor loss = sequence_balance(scores, experts, offsets);
  CHECK(loss.item<double>() == Approx(balance_by_definition(scores.detach(), experts, offsets)).epsilon(1e-6));
  (loss * 3.0).backward();  // a factor must reach the gradient
  const double step = 1e-5;
  const at::Tensor exact = scores.detach().to(at::kDouble);
  for (int64_t t = 0; t < 12; ++t)
    for (int64_t i = 0; i < 6; ++i) {
      CAPTURE(t, i);
      at::Tensor up = exact.clone(), down = exact.clone();
      up[t][i] += step, down[t][i] -= step;
      const double slope = (balance_by_definition(up, experts, offsets) - balance_by_definition(down, experts, offsets)) / (2.0 * step);
      CHECK(scores.grad()[t][i].item<double>() == Approx(3.0 * slope).epsilon(1e-5).margin(1e-7));
    }
}

TEST_CASE("a mixture layer reports its load and adds its balance loss to the trace") {
  const Architecture a = small("deepseek_v3_tiny");
  ParameterSet set;
  const auto first = make_feed_forward(a, 1, "a.", set), second = make_feed_forward(a, 2, "b.", set);
  set.allocate(1, 0.3);
  const at::Tensor x = at::randn({9, a.hidden_size});
  const std::vector<int64_t> offsets = {0, 4, 9};
  const ForwardContext context{at::Tensor(), &offsets, nullptr, ComputeType::kFloat32};

  MoeTrace trace;
  const at::Tensor traced = first->forward(x, context, &trace);
  CHECK(at::equal(traced.detach(), first->forward(x, context, nullptr).detach()));
  REQUIRE(trace.load.size() == 1);
  CHECK(trace.load[0].numel() == a.n_routed_experts);
  CHECK(trace.load[0].sum().item<int64_t>() == 9 * a.num_experts_per_tok);
  CHECK_FALSE(trace.balance_loss.defined());

  MoeTrace one, other, both;
  one.balance_weight = other.balance_weight = both.balance_weight = 0.5;
  first->forward(x, context, &one), second->forward(x, context, &other);
  first->forward(x, context, &both), second->forward(x, context, &both);
  CHECK(both.load.size() == 2);
  CHECK(both.balance_loss.item<double>() == Approx(one.balance_loss.item<double>() + other.balance_loss.item<double>()).epsilon(1e-12));
  CHECK(one.balance_loss.item<double>() >= 0.5 * 2 * 0.5);  // two sequences, each around 1

  both.balance_loss.backward();
  CHECK(set.find("a.gate.weight")->grad.abs().max().item<double>() > 0.0);
  CHECK(set.find("b.gate.weight")->grad.abs().max().item<double>() > 0.0);
  CHECK(set.find("a.experts.up_proj.weight")->grad.abs().max().item<double>() == 0.0);
}

TEST_CASE("the selection bias decides who is chosen and is not trained") {
  const Architecture a = small("deepseek_v3_tiny");
  ParameterSet set;
  const auto layer = make_feed_forward(a, 1, "a.", set);
  set.allocate(1, 0.3);
  const std::vector<int64_t> offsets = {0, 6};
  const ForwardContext context{at::Tensor(), &offsets, nullptr, ComputeType::kFloat32};
  REQUIRE(layer->router_bias().defined());
  CHECK(at::equal(layer->router_bias(), at::zeros({a.n_routed_experts})));
  layer->router_bias()[6] = 10.0f;
  layer->router_bias()[7] = 10.0f;  // one group: 4 groups of 2
  MoeTrace trace;
  layer->forward(at::randn({6, a.hidden_size}), context, &trace);
  CHECK(at::equal(trace.load[0], floats({0, 0, 0, 0, 0, 0, 6, 6})));
}

TEST_CASE("dense layers and softmax routers have no selection bias") {
  ParameterSet set;
  CHECK_FALSE(make_feed_forward(small("deepseek_v3_tiny"), 0, "a.", set)->router_bias().defined());
  CHECK_FALSE(make_feed_forward(small("dense_tiny"), 1, "b.", set)->router_bias().defined());
  Architecture a = small("deepseek_v3_tiny");
  a.softmax_router = true;
  CHECK_FALSE(make_feed_forward(a, 1, "c.", set)->router_bias().defined());
}

}  // namespace cohort::model
