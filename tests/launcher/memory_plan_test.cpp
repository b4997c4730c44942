#include "launcher/memory_plan.h"

#include <ATen/ATen.h>
#include <malloc.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <string>

#include "core/model/causal_lm.h"
#include "core/model/kv_cache.h"
#include "core/model/logprobs.h"
#include "tests/support/counted_memory.h"

namespace cohort::launcher {
namespace {

model::Architecture shape(const char* preset) {
  model::Architecture a = model::architecture_preset(preset);
  if (a.vocab_size == 0) a.vocab_size = 272;
  return a;
}

/// Bytes of a real cache.
int64_t allocated(const model::Architecture& a, int64_t sequences, int64_t tokens) {
  model::KvCache cache(a, sequences, tokens);
  int64_t bytes = 0;
  for (int64_t i = 0; i < a.num_hidden_layers; ++i)
    bytes += static_cast<int64_t>(cache.layer(i).keys.nbytes() + cache.layer(i).values.nbytes());
  return bytes;
}

TEST_CASE("the cache that is planned is the cache that is allocated, but for the last tile") {
  for (const char* preset : {"deepseek_v3_tiny", "dense_tiny", "calibration_a"}) {
    CAPTURE(preset);
    const model::Architecture a = shape(preset);
    const int64_t planned = kv_cache_bytes(a, 3, 512);
    CHECK(allocated(a, 3, 512) >= planned);
    CHECK(static_cast<double>(allocated(a, 3, 512)) <= 1.1 * static_cast<double>(planned));
  }
  // DeepSeek-V3: 576 floats per token and layer, and the latent's 512 once more.
  CHECK(kv_cache_bytes(shape("deepseek_v3"), 1, 1) == 61 * (576 + 512) * 4);
}

TEST_CASE("what is gathered beyond a slice is what is outside of the layers and the largest of them, with a rank's experts") {
  for (const char* preset : {"deepseek_v3_tiny", "dense_tiny", "calibration_b"}) {
    CAPTURE(preset);
    const model::Architecture a = shape(preset);
    const model::CausalLM model(a, 1);
    std::map<std::string, int64_t> by_layer;  // "" for what is outside of the layers
    for (const model::Parameter& p : model.parameters().all()) {
      const bool inside = p.name.starts_with("model.layers.");
      const std::string layer = inside ? p.name.substr(0, p.name.find('.', 13)) : "";
      by_layer[layer] += p.name.find(".experts.") == std::string::npos ? p.value.numel() : p.value.numel() / 4;
    }
    int64_t largest = 0;
    for (const auto& [layer, numbers] : by_layer)
      if (!layer.empty()) largest = std::max(largest, numbers);
    CHECK(gathered_bytes(a, a.n_routed_experts > 0 ? 4 : 1) == 4 * (by_layer[""] + largest));
  }
}

TEST_CASE("parameters that are planned are those of a model") {
  for (const char* preset : {"deepseek_v3_tiny", "dense_tiny", "calibration_a", "calibration_b"}) {
    CAPTURE(preset);
    const model::Architecture a = shape(preset);
    const model::CausalLM model(a, 1);
    int64_t biases = 0;  // state of the router, counted though it is not trained
    for (const at::Tensor& bias : model.router_biases()) biases += bias.numel();
    CHECK(a.parameters() == model.parameters().size() + biases);
  }
  CHECK(shape("deepseek_v3").parameters() == 671'026'419'200);
}

TEST_CASE("gradients are a buffer and the partial sums of the tree") {
  CHECK(gradient_bytes(100, 1) == 400);  // nothing is added up
  CHECK(gradient_bytes(100, 2) == 3 * 400);
  CHECK(gradient_bytes(100, 4) == 4 * 400);
}

int64_t in_use() {
  const struct mallinfo2 info = mallinfo2();
  return static_cast<int64_t>(info.uordblks + info.hblkhd);
}

TEST_CASE("activations that are planned are what a forward pass keeps") {
  for (const char* preset : {"deepseek_v3_tiny", "dense_tiny", "calibration_b"}) {
    CAPTURE(preset);
    const model::Architecture a = shape(preset);
    model::CausalLM model(a, 1);
    const std::vector<model::Completion> batch(16, {std::vector<int32_t>(30, 65), std::vector<int32_t>(96, 66)});
    const int64_t before = in_use();
    const model::LogprobEntropy kept = model::completion_logprobs(model, batch, 1.0, a.vocab_size);
    const auto measured = static_cast<double>(in_use() - before);
    const auto planned = static_cast<double>(activation_bytes(a, 16 * 126, 16 * 96));
    CAPTURE(kept.logprob_N.numel(), measured, planned);
    CHECK(planned == Approx(measured).epsilon(0.15));
  }
}

TEST_CASE("with recomputation the plan is near the peak of a training step") {
  for (const char* preset : {"deepseek_v3_tiny", "dense_tiny", "calibration_b"}) {
    CAPTURE(preset);
    const model::Architecture a = shape(preset);
    model::CausalLM model(a, 1);
    model.set_recompute(true);
    const std::vector<model::Completion> batch(16, {std::vector<int32_t>(30, 65), std::vector<int32_t>(96, 66)});
    const test::CountedMemory counted;
    model::completion_logprobs(model, batch, 1.0, a.vocab_size).logprob_N.sum().backward();
    const auto measured = static_cast<double>(counted.peak());
    const auto planned = static_cast<double>(recomputed_activation_bytes(a, 16 * 126, 16 * 96));
    CAPTURE(measured, planned);
    CHECK(planned == Approx(measured).epsilon(0.15));
  }
}

TEST_CASE("activations grow with tokens, and by the vocabulary where tokens are predicted") {
  const model::Architecture a = shape("dense_tiny");
  const int64_t one = activation_bytes(a, 1, 0);
  CHECK(one == 4 * (96 + 3 * (4 * 96 + (2 * 4 + 2 * 2) * 24 + 3 * 256)));
  CHECK(activation_bytes(a, 10, 0) == 10 * one);
  CHECK(activation_bytes(a, 10, 3) == 10 * one + 3 * 2 * 272 * 4);
}

TEST_CASE("with recompute a layer keeps its input, and one layer is there whole") {
  const model::Architecture a = shape("dense_tiny");
  CHECK(recomputed_activation_bytes(a, 1, 0) == 4 * (96 + 3 * 96 + (4 * 96 + (2 * 4 + 2 * 2) * 24 + 3 * 256)));
  CHECK(recomputed_activation_bytes(a, 10, 3) == 10 * recomputed_activation_bytes(a, 1, 0) + 3 * 2 * 272 * 4);
}

TEST_CASE("a backward pass works on the head or on a feed-forward, whichever is larger") {
  const model::Architecture a = shape("dense_tiny");
  CHECK(backward_bytes(a, 10, 0) == 10 * (3 * 256 + 2 * 96) * 4);
  CHECK(backward_bytes(a, 10, 100) == 100 * 272 * 4);
}

TEST_CASE("rounding keeps copies") {
  const model::Architecture a = shape("dense_tiny");
  CHECK(rounded_copies_bytes(a, 10) == 10 * 3 * (3 * 96 + 4 * 24 + 2 * 96 + 256) * 4);
}

TEST_CASE("bytes are written for people") {
  CHECK(readable_bytes(0) == "0 B");
  CHECK(readable_bytes(1023) == "1023 B");
  CHECK(readable_bytes(1536) == "1.5 KiB");
  CHECK(readable_bytes(int64_t{3} << 40) == "3.0 TiB");
}

TEST_CASE("the total is the sum of the parts") {
  MemoryPlan plan;
  plan.add("a", 3);
  plan.add("b", 4);
  CHECK(plan.total() == 7);
}

}  // namespace
}  // namespace cohort::launcher
