// The decoder against transformers: logits, every gradient, greedy decoding with the cache; and against itself: decoding equals training to
// the bit, micro-batches add up to the bit, absorbed equals expanded MLA.
#include "core/model/causal_lm.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/base/file.h"
#include "core/base/json.h"
#include "core/model/logprobs.h"
#include "core/model/safetensors.h"
#include "core/model/weights_io.h"
#include "tests/support/golden.h"

namespace cohort::model {
namespace {

const std::vector<std::string> kFixtures = {
    "deepseek_v2_groups", "deepseek_v2_lite", "deepseek_v2_tied", "deepseek_v3",    "deepseek_v3_groups", "deepseek_v3_plain",
    "llama_biased",       "llama_scaled",     "llama_untied",     "qwen2_tied",     "qwen2_untied",       "qwen2_yarn",
    "qwen3_biased",       "qwen3_moe",        "qwen3_moe_tied",   "qwen3_moe_yarn", "qwen3_tied",         "qwen3_yarn"};

std::unique_ptr<CausalLM> fixture_model(const std::string& name, ComputeType type = ComputeType::kFloat32) {
  return load_model(test::golden_path("model/" + name), type);
}

std::vector<int32_t> to_ids(const at::Tensor& t) { return {t.data_ptr<int64_t>(), t.data_ptr<int64_t>() + t.numel()}; }

/// The three sequences of the fixture.
std::vector<std::vector<int32_t>> sequences(const std::map<std::string, at::Tensor>& golden) {
  return {to_ids(golden.at("ids_0")), to_ids(golden.at("ids_1")), to_ids(golden.at("ids_2"))};
}

/// Rows whose next token is known, and that token.
std::pair<at::Tensor, at::Tensor> next_tokens(const TokenBatch& batch) {
  std::vector<int64_t> rows, ids;
  for (size_t b = 0; b + 1 < batch.offsets.size(); ++b)
    for (int64_t t = batch.offsets[b]; t + 1 < batch.offsets[b + 1]; ++t)
      rows.push_back(t), ids.push_back(batch.ids_N[t + 1].item<int64_t>());
  return {at::tensor(rows), at::tensor(ids)};
}

/// Adds the gradient of -Σ log p / scale over the sequences; returns the loss.
double backward(CausalLM& model, const std::vector<std::vector<int32_t>>& some, double scale) {
  const TokenBatch batch = pack(some);
  const auto [rows, ids] = next_tokens(batch);
  const auto r = token_logprob(model.logits(model.hidden(batch).index_select(0, rows)), ids, 1.0, model.architecture().vocab_size);
  const at::Tensor loss = -r.logprob_N.sum() / scale;
  loss.backward();
  return loss.item<double>();
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.contiguous(), y = b.contiguous();
  return x.sizes() == y.sizes() &&
         std::memcmp(x.data_ptr<float>(), y.data_ptr<float>(), sizeof(float) * static_cast<size_t>(x.numel())) == 0;
}

}  // namespace

TEST_CASE("logits, loss and every gradient equal those of transformers") {
  const std::string name = GENERATE(from_range(kFixtures));
  CAPTURE(name);
  const auto golden = read_safetensors(test::golden_path("model/" + name + "/golden.safetensors"));
  auto model = fixture_model(name);
  const auto seqs = sequences(golden);
  int64_t count = 0;
  for (size_t i = 0; i < seqs.size(); ++i) {
    const at::NoGradGuard no_grad;
    const at::Tensor logits = model->logits(model->hidden(pack({seqs[i]})));
    CHECK((logits - golden.at("logits_" + std::to_string(i))).abs().max().item<double>() <= 2e-5);
    count += static_cast<int64_t>(seqs[i].size()) - 1;
  }
  model->zero_gradients();
  CHECK(backward(*model, seqs, static_cast<double>(count)) == Approx(golden.at("loss").item<double>()).epsilon(1e-6));
  model->fold_gradients();
  size_t compared = 0;
  for (const Parameter& p : model->parameters().all()) {
    const size_t stacked = p.name.find(".mlp.experts.");
    for (int64_t e = 0; e < (stacked == std::string::npos ? 1 : p.grad.size(0)); ++e) {
      const std::string published =
          stacked == std::string::npos ? p.name : p.name.substr(0, stacked + 13) + std::to_string(e) + "." + p.name.substr(stacked + 13);
      const at::Tensor grad = stacked == std::string::npos ? p.grad : p.grad[e], want = golden.at("grad." + published);
      CAPTURE(published);
      CHECK((grad - want).abs().max().item<double>() <= 1e-5 * want.abs().max().item<double>() + 1e-12);
      ++compared;
    }
  }
  size_t expected = 0;
  for (const auto& [key, tensor] : golden) expected += key.starts_with("grad.") ? 1 : 0;
  CHECK(compared == expected);
}

TEST_CASE("64 greedy tokens through the cache equal those of transformers") {
  const std::string name = GENERATE(from_range(kFixtures));
  CAPTURE(name);
  const auto golden = read_safetensors(test::golden_path("model/" + name + "/golden.safetensors"));
  auto model = fixture_model(name);
  for (const char* i : {"0", "1", "2"}) {
    const auto prompt = to_ids(golden.at(std::string("ids_") + i)), want = to_ids(golden.at(std::string("greedy_") + i));
    KvCache cache(model->architecture(), 1, static_cast<int64_t>(prompt.size() + want.size()));
    at::Tensor last = model->prefill(pack({prompt}), {0}, cache).narrow(0, static_cast<int64_t>(prompt.size()) - 1, 1);
    std::vector<int32_t> got;
    while (got.size() < want.size()) {
      got.push_back(model->logits(last).argmax().item<int32_t>());
      last = model->decode({got.back()}, {0}, {static_cast<int64_t>(prompt.size() + got.size()) - 1}, cache);
    }
    CHECK(got == want);
  }
}

TEST_CASE("decoding gives the bits of the training forward, in any batch") {
  const std::string name = GENERATE(from_range(kFixtures));
  const ComputeType type = GENERATE(ComputeType::kFloat32, ComputeType::kBFloat16);
  CAPTURE(name);
  const auto golden = read_safetensors(test::golden_path("model/" + name + "/golden.safetensors"));
  auto model = fixture_model(name, type);
  const auto seqs = sequences(golden);
  const TokenBatch batch = pack(seqs);
  const at::Tensor together = model->hidden(batch).detach();
  KvCache cache(model->architecture(), 3, 128);
  std::vector<std::vector<int32_t>> starts;
  for (const auto& s : seqs) starts.push_back({s.begin(), s.begin() + 2});
  model->prefill(pack(starts), {2, 0, 1}, cache);
  const std::vector<int64_t> slot = {2, 0, 1};
  for (size_t t = 2; t < 64; ++t) {
    std::vector<int32_t> ids;
    std::vector<int64_t> slots, positions, rows;
    for (size_t b = 0; b < seqs.size(); ++b) {
      if (t >= seqs[b].size()) continue;
      ids.push_back(seqs[b][t]), slots.push_back(slot[b]), positions.push_back(static_cast<int64_t>(t));
      rows.push_back(batch.offsets[b] + static_cast<int64_t>(t));
    }
    if (ids.empty()) break;
    REQUIRE(same_bits(model->decode(ids, slots, positions, cache), together.index_select(0, at::tensor(rows))));
  }
}

TEST_CASE("gradients do not depend on the split into micro-batches, to the bit") {
  const std::string name = GENERATE(from_range(kFixtures));
  CAPTURE(name);
  const auto seqs = sequences(read_safetensors(test::golden_path("model/" + name + "/golden.safetensors")));
  auto model = fixture_model(name);
  model->zero_gradients();
  backward(*model, seqs, 7.0);
  model->fold_gradients();
  const at::Tensor whole = model->parameters().grads().clone();
  model->zero_gradients();
  for (const auto& s : seqs) backward(*model, {s}, 7.0);
  model->fold_gradients();
  CHECK(same_bits(whole, model->parameters().grads()));
  CHECK(whole.abs().max().item<double>() > 0.0);
}

TEST_CASE("absorbed MLA equals expanded MLA") {
  const std::string name = GENERATE(as<std::string>{}, "deepseek_v3", "deepseek_v3_plain", "deepseek_v2_lite", "deepseek_v2_groups");
  const Architecture a = load_architecture(test::golden_path("model/" + name));
  ParameterSet set;
  const RopeTable rope = make_rope_table(a, a.qk_rope_head_dim);
  const auto mla = make_attention(a, "x.", set, rope);
  set.allocate(1, 0.3);
  const at::NoGradGuard no_grad;
  const at::Tensor x = at::randn({24, a.hidden_size});
  const std::vector<int64_t> offsets = {0, 9, 24};
  const at::Tensor positions = at::cat({at::arange(9), at::arange(15)});
  const ForwardContext context{positions, &offsets, nullptr, ComputeType::kFloat32};
  const at::Tensor absorbed = mla->forward(x, context, 0), expanded = expanded_mla(*mla, x, context);
  CHECK((absorbed - expanded).abs().max().item<double>() <= 1e-5 * std::max(1.0, expanded.abs().max().item<double>()));
}

TEST_CASE("bf16 compute stays close to fp32 and is not fp32") {
  const std::string name = GENERATE(from_range(kFixtures));
  CAPTURE(name);
  const at::NoGradGuard no_grad;
  const auto seqs = sequences(read_safetensors(test::golden_path("model/" + name + "/golden.safetensors")));
  auto full = fixture_model(name), half = fixture_model(name, ComputeType::kBFloat16);
  const at::Tensor a = full->logits(full->hidden(pack(seqs))), b = half->logits(half->hidden(pack(seqs)));
  // Rounding moves a few tokens to other experts, so the bound is on the typical token.
  const double relative = ((a - b).norm(2, {1}) / a.norm(2, {1})).median().item<double>();
  CHECK(relative > 0.0);
  CHECK(relative <= 5e-2);
}

TEST_CASE("a saved model is read back equal") {
  for (const std::string& name : kFixtures) {
    auto model = fixture_model(name);
    const auto file = read_safetensors(test::golden_path("model/" + name + "/model.safetensors"));
    size_t matched = 0;
    for (const auto& [published, tensor] : named_tensors(*model))
      matched += file.count(published) && same_bits(file.at(published), tensor) ? 1 : 0;
    CHECK(matched == file.size());
    const auto j = architecture_to_json(model->architecture());
    CHECK(architecture_to_json(architecture_from_json(j, "test")) == j);
  }
}

TEST_CASE("scores and gradients of a reward model equal those of transformers") {
  const std::string folder = test::golden_path("model/qwen3_reward");
  const auto golden = read_safetensors(folder + "/golden.safetensors");
  const auto model = load_model(folder, ComputeType::kFloat32, Head::kScalar);
  const at::Tensor scores = sequence_scores(*model, sequences(golden));
  for (int64_t i = 0; i < 3; ++i)
    CHECK(scores[i].item<double>() == Approx(golden.at("score_" + std::to_string(i)).item<double>()).epsilon(0).margin(2e-5));
  model->zero_gradients();
  scores.sum().backward();
  for (const Parameter& p : model->parameters().all()) {
    CAPTURE(p.name);
    const at::Tensor& want = golden.at("grad." + p.name);
    CHECK((p.grad - want).abs().max().item<double>() <= 1e-5 * want.abs().max().item<double>() + 1e-12);
  }
  CHECK_THROWS_WITH(load_model(folder), Catch::Contains("architectures: expected a language model, found a sequence-classification head"));
}

TEST_CASE("log-probabilities of given tokens are those of their logits, in any company") {
  const std::string name = GENERATE(as<std::string>{}, "llama_scaled", "deepseek_v2_lite");
  const auto seqs = sequences(read_safetensors(test::golden_path("model/" + name + "/golden.safetensors")));
  auto model = fixture_model(name);
  const at::Tensor together = next_token_logprobs(*model, {seqs[0], {1}, seqs[1], seqs[2]});  // one token has nothing before it
  int64_t at = 0;
  for (const auto& ids : seqs) {
    const at::NoGradGuard no_grad;
    const int64_t count = static_cast<int64_t>(ids.size()) - 1;
    const at::Tensor alone = next_token_logprobs(*model, {ids});
    CHECK(same_bits(alone, together.narrow(0, at, count)));
    const at::Tensor all = model->logits(model->hidden(pack({ids}))).to(at::kDouble).log_softmax(1);
    for (int64_t t = 0; t < count; ++t)
      CHECK(alone[t].item<double>() == Approx(all[t][ids[static_cast<size_t>(t) + 1]].item<double>()).epsilon(0).margin(2e-6));
    at += count;
  }
  CHECK(at == together.numel());
  CHECK(next_token_logprobs(*model, {{3}, {4}}).numel() == 0);
}

}  // namespace cohort::model
