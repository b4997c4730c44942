// Blocks that are run again in the backward pass: the same bits as without, whatever happens to the router in between, in less memory.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <functional>
#include <utility>

#include "core/model/causal_lm.h"
#include "core/model/functions.h"
#include "core/model/logprobs.h"
#include "tests/support/counted_memory.h"

namespace cohort::model {
namespace {

Architecture shape(const std::string& preset) {
  Architecture a = architecture_preset(preset);
  a.vocab_size = 272;
  return a;
}

/// Packed: prompts and answers of different lengths, `count` of them.
std::vector<Completion> batch_of(size_t count, size_t longest) {
  std::vector<Completion> batch;
  for (size_t i = 0; i < count; ++i) {
    Completion c;
    for (size_t t = 0; t < 2 + i % 5; ++t) c.prompt.push_back(static_cast<int32_t>((7 * i + 3 * t) % 256));
    for (size_t t = 0; t < 1 + (longest - 1) * (i + 1) / count; ++t) c.completion.push_back(static_cast<int32_t>((5 * i + t * t) % 256));
    batch.push_back(std::move(c));
  }
  return batch;
}

struct Outcome {
  double loss = 0.0, balance = 0.0;
  at::Tensor gradient;
  std::vector<at::Tensor> load;
};

/// Two micro-batches, with the entropy in the loss too. `before_backward` is called after each forward pass.
Outcome train(CausalLM& model, double balance_weight, const std::function<void()>& before_backward = {}) {
  model.zero_gradients();
  Outcome result;
  MoeTrace trace{balance_weight, {}, {}};
  for (size_t count : {7, 4}) {
    const auto r = completion_logprobs(model, batch_of(count, 21), 1.0, 272, model.router_biases().empty() ? nullptr : &trace);
    at::Tensor loss = -(r.logprob_N - 0.1 * r.entropy_N).to(at::kDouble).sum() / 100.0;
    result.loss += loss.item<double>();
    if (trace.balance_loss.defined()) {
      result.balance += trace.balance_loss.item<double>();
      loss = loss + std::exchange(trace.balance_loss, at::Tensor());
    }
    if (before_backward) before_backward();
    loss.backward();
  }
  model.fold_gradients();
  result.gradient = model.parameters().grads().clone();
  result.load = trace.load;
  return result;
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && std::memcmp(a.data_ptr(), b.data_ptr(), a.nbytes()) == 0;
}

void check_same(const Outcome& kept, const Outcome& again) {
  CHECK(kept.loss == again.loss);
  CHECK(kept.balance == again.balance);
  CHECK(same_bits(kept.gradient, again.gradient));
  CHECK(kept.gradient.abs().max().item<double>() > 0.0);
  REQUIRE(kept.load.size() == again.load.size());
  for (size_t i = 0; i < kept.load.size(); ++i) CHECK(same_bits(kept.load[i], again.load[i]));
}

/// Bytes of tensors that training on one batch takes at its highest, beyond the model.
size_t peak_of(const Architecture& a, bool recompute) {
  CausalLM model(a, 1);
  model.set_recompute(recompute);
  const auto batch = batch_of(16, 96);
  const test::CountedMemory counted;
  const auto r = completion_logprobs(model, batch, 1.0, 272);
  r.logprob_N.sum().backward();
  return counted.peak();
}

}  // namespace

TEST_CASE("blocks that are run again give the same loss, gradients, loads and balance loss, to the bit") {
  const std::string preset = GENERATE(as<std::string>{}, "deepseek_v3_tiny", "dense_tiny");
  const ComputeType type = GENERATE(ComputeType::kFloat32, ComputeType::kBFloat16);
  const double balance_weight = GENERATE(0.0, 0.01);
  CAPTURE(preset, balance_weight);
  const Architecture a = shape(preset);
  CausalLM model(a, 3, type);
  const Outcome kept = train(model, balance_weight);
  model.set_recompute(true);
  const Outcome again = train(model, balance_weight);
  check_same(kept, again);
  const size_t mixtures = model.router_biases().size();
  CHECK(again.load.size() == 2 * mixtures);  // each layer's once per micro-batch
  CHECK((again.balance > 0.0) == (mixtures > 0 && balance_weight > 0.0));
  for (size_t i = 0; i < mixtures; ++i) {
    int64_t tokens = 0;
    for (const Completion& c : batch_of(7, 21)) tokens += static_cast<int64_t>(c.prompt.size() + c.completion.size()) - 1;
    CHECK(again.load[i].sum().item<int64_t>() == tokens * a.num_experts_per_tok);
  }
}

TEST_CASE("the second pass routes as the first, even when the router has changed") {
  CausalLM model(shape("deepseek_v3_tiny"), 3);
  const auto move_biases = [&](float to) {
    for (const at::Tensor& bias : model.router_biases()) bias[0] = to, bias[5] = -to;
  };
  const auto disturbed = [&] { move_biases(2.0f); };
  const Outcome kept = train(model, 0.01, disturbed);
  move_biases(0.0f);
  model.set_recompute(true);
  check_same(kept, train(model, 0.01, disturbed));

  const Outcome other = train(model, 0.01);  // a first pass with the changed router
  CHECK_FALSE(same_bits(kept.gradient, other.gradient));
}

TEST_CASE("without gradients nothing is run twice") {
  CausalLM model(shape("dense_tiny"), 3);
  const at::Tensor kept = completion_logprobs(model, batch_of(5, 9), 1.0, 272).logprob_N.detach();
  model.set_recompute(true);
  const at::NoGradGuard no_grad;
  const at::Tensor plain = completion_logprobs(model, batch_of(5, 9), 1.0, 272).logprob_N;
  CHECK(same_bits(kept, plain));
  CHECK(plain.grad_fn() == nullptr);
}

TEST_CASE("a part whose outputs are not all used gets the gradients of those that are") {
  at::Tensor x = at::randn({4}).requires_grad_(true);
  const auto part = [](const at::Tensor& v) { return std::vector<at::Tensor>{v * v, v.sum(), v * 3.0}; };
  const auto out = recompute(x, part);
  (out[0].sum() + 2.0 * out[2].sum()).backward();
  CHECK(at::allclose(x.grad(), 2.0 * x.detach() + 6.0));
}

TEST_CASE("running blocks again takes less memory") {
  for (const char* preset : {"deepseek_v3_tiny", "dense_tiny"}) {
    const Architecture a = shape(preset);
    const size_t kept = peak_of(a, false), again = peak_of(a, true);
    CAPTURE(preset, kept, again);
    CHECK(static_cast<double>(again) < 0.7 * static_cast<double>(kept));
  }
}

}  // namespace cohort::model
