#include "launcher/cluster_plan.h"

#include <catch2/catch.hpp>

namespace cohort::launcher {
namespace {

constexpr double kExperts = 58.0 * 256.0 * 44'040'192.0;  // of DeepSeek-V3
constexpr double kDense = 671'026'419'200.0 - kExperts;

StageWork v3_work() {
  StageWork w;
  w.name = "zero";
  w.type = "rl";
  w.shape = model::architecture_preset("deepseek_v3");
  w.questions = 512, w.answers = 16, w.max_num_seqs = 512;
  w.prompt_mean = 100.0, w.prompt_longest = 128;
  w.response_mean = 8192.0, w.response_longest = 32768;
  w.sequences = 8192, w.optimizer_steps = 16;
  w.old_logprobs = w.reference = true;
  return w;
}

Layout paper_layout() {
  Layout l;
  l.ranks = 512;
  l.expert_parallel = 128, l.context_parallel = 8;
  l.zero1 = l.sharded_parameters = l.recompute = l.offload = true;
  return l;
}

const PhaseMemory& phase_of(const StageCost& cost, const std::string& phase) {
  for (const PhaseMemory& p : cost.memory)
    if (p.phase == phase) return p;
  FAIL("no phase " + phase);
  return cost.memory.front();
}

double part(const StageCost& cost, const std::string& phase, const std::string& name) {
  for (const Figure& f : phase_of(cost, phase).parts)
    if (f.name == name) return f.value;
  return 0.0;
}

Transfer transfer(const StageCost& cost, const std::string& name) {
  for (const Transfer& t : cost.traffic)
    if (t.name == name) return t;
  return {};
}

double figure(const std::vector<Figure>& figures, const std::string& name) {
  for (const Figure& f : figures)
    if (f.name == name) return f.value;
  return 0.0;
}

TEST_CASE("memory of DeepSeek-V3 on 512 ranks, by hand") {
  const StageCost cost = plan_stage(v3_work(), paper_layout(), {}, {}, true);
  CHECK(part(cost, "update", "weights_dense") == Approx(kDense * 2 / 512));
  CHECK(part(cost, "update", "weights_experts") == Approx(kExperts * 2 / 128));
  CHECK(part(cost, "update", "gradients_experts") == Approx(kExperts * 4 / 128));
  CHECK(part(cost, "update", "masters") == Approx((kDense / 512 + kExperts / 128 / 4) * 4));
  CHECK(part(cost, "update", "moments") == Approx((kDense / 512 + kExperts / 128 / 4) * 8));
  CHECK(part(cost, "update", "reference_weights_experts") == 0.0);  // on the host meanwhile
  CHECK(part(cost, "logprob", "reference_weights_experts") == Approx(kExperts * 2 / 128));
  CHECK(part(cost, "rollout", "weights_dense") == Approx(kDense * 2));
  CHECK(part(cost, "rollout", "kv_cache") == Approx(static_cast<double>(cost.decode.places) * 32896 * 61 * (576 + 512) * 2));
  CHECK(part(cost, "rollout", "moments") == 0.0);
  CHECK(cost.host_bytes > 0.0);
  // 1 x 32,896 / 8 tokens: 61 inputs of 7,168 values in bf16 each, and one layer
  CHECK(part(cost, "update", "activations") > 32896.0 / 8 * 61 * 7168 * 2);
  CHECK(part(cost, "update", "activations") < 2.0 * 32896.0 / 8 * 61 * 7168 * 2);
  for (const PhaseMemory& p : cost.memory)
    for (const Figure& f : p.parts) CHECK(!f.arithmetic.empty());
}

TEST_CASE("each option moves what it is for") {
  Layout l = paper_layout();
  const StageCost all = plan_stage(v3_work(), l, {}, {}, false);

  l.recompute = false;
  CHECK(part(plan_stage(v3_work(), l, {}, {}, false), "update", "activations") > 5.0 * part(all, "update", "activations"));
  CHECK(figure(plan_stage(v3_work(), l, {}, {}, false).operations, "update") == Approx(figure(all.operations, "update") * 3.0 / 4.0));

  l = paper_layout();
  l.sharded_parameters = false;
  const StageCost whole = plan_stage(v3_work(), l, {}, {}, false);
  CHECK(part(whole, "update", "gradients_dense") == Approx(512 * part(all, "update", "gradients_dense")));
  CHECK(part(whole, "update", "moments") == part(all, "update", "moments"));
  l.zero1 = false;
  CHECK(part(plan_stage(v3_work(), l, {}, {}, false), "update", "moments") == Approx((kDense + kExperts / 128) * 8));

  l = paper_layout();
  l.offload = false;
  const StageCost resident = plan_stage(v3_work(), l, {}, {}, false);
  CHECK(part(resident, "rollout", "moments") == part(resident, "update", "moments"));
  CHECK(part(resident, "update", "reference_weights_experts") > 0.0);
  CHECK(resident.host_bytes == 0.0);

  l = paper_layout();
  l.expert_parallel = 64;
  CHECK(part(plan_stage(v3_work(), l, {}, {}, false), "update", "weights_experts") == Approx(2.0 * part(all, "update", "weights_experts")));
}

TEST_CASE("split: rollout ranks hold weights and cache, trainers the rest") {
  Layout l = paper_layout();
  l.rollout_ranks = 256;
  l.rollout_expert_parallel = 32;
  l.max_staleness = 1;
  const StageCost cost = plan_stage(v3_work(), l, {}, {}, false);
  CHECK(phase_of(cost, "rollout").role == "rollout");
  CHECK(phase_of(cost, "update").role == "trainer");
  CHECK(part(cost, "rollout", "weights_experts") == Approx(kExperts * 2 / 32));
  CHECK(part(cost, "update", "masters") == Approx((kDense / 256 + kExperts / 128 / 2) * 4));
  const Transfer sent = transfer(cost, "weight_transfer");
  CHECK(sent.network == Approx(kDense * 2 / 8 + kExperts * 2 / 32));
  CHECK(sent.nvlink == Approx(kDense * 2 * 7 / 8));
  // Overlapped: a step is the longer of the two.
  const double rollout = figure(cost.times, "rollout"), publish = figure(cost.times, "weight_transfer");
  CHECK(cost.step_seconds() == Approx(std::max(rollout, cost.train_seconds) + publish));
  l.max_staleness = 0;
  CHECK(plan_stage(v3_work(), l, {}, {}, false).step_seconds() == Approx(rollout + cost.train_seconds + publish));
}

TEST_CASE("traffic of data parallelism over two nodes of two ranks, by hand") {
  StageWork w;
  w.shape = model::architecture_preset("dense_tiny");
  w.shape.vocab_size = 272;
  w.precision.weights = 4;
  w.response_mean = 8.0, w.response_longest = 8;
  w.sequences = 4;
  Layout l;
  l.ranks = 4;
  Device d;
  d.ranks_per_node = 2;
  const auto bytes = static_cast<double>(4 * w.shape.parameters());
  const StageCost plain = plan_stage(w, l, d, {}, false);
  const Transfer reduced = transfer(plain, "gradient_reduce_scatter");
  CHECK(reduced.nvlink == Approx(bytes / 2));
  CHECK(reduced.network == Approx(bytes / 4));
  CHECK(reduced.nvlink + reduced.network == Approx(bytes * 3 / 4));  // (n - 1) / n
  CHECK(transfer(plain, "gradient_all_gather").nvlink == reduced.nvlink);
  CHECK(transfer(plain, "parameter_all_gather").nvlink == 0.0);
  l.zero1 = true;
  const StageCost zero1 = plan_stage(w, l, d, {}, false);
  CHECK(transfer(zero1, "gradient_all_gather").nvlink == 0.0);
  CHECK(transfer(zero1, "parameter_all_gather").network == Approx(bytes / 4));
  CHECK(part(zero1, "update", "moments") == Approx(part(plain, "update", "moments") / 4));
  l.ranks = 1;
  CHECK(plan_stage(w, l, d, {}, false).traffic.empty());
}

TEST_CASE("experts on 64 ranks over 8 nodes: a token crosses to at most four nodes") {
  Layout l = paper_layout();
  l.expert_parallel = 64;
  const Transfer sent = transfer(plan_stage(v3_work(), l, {}, {}, false), "expert_dispatch");
  // forward, recomputed and backward, and two passes for log-probabilities
  const double tokens = 5.0 * 8192.0 * (100.0 + 8192.0) / 512.0 * 58.0;
  CHECK(sent.network == Approx(tokens * 7168 * 2 * 4 * 7 / 8));
  CHECK(sent.nvlink == Approx(tokens * 7168 * 2 * 8 * 7 / 8));
}

TEST_CASE("operations of DeepSeek-V3") {
  StageWork w = v3_work();
  w.prompt_mean = 0.0;
  w.reference = false;
  const StageCost cost = plan_stage(w, paper_layout(), {}, {}, false);
  // 36.63 G parameters are multiplied; a position costs 128 heads x (2 x 512 + 64) x 2 in each of 61 layers
  const double token = 2.0 * (37'553'000'000.0 - 926'679'040.0) + 4096.0 * 61 * 128 * (2 * 512 + 64) * 2;
  CHECK(figure(cost.operations, "logprob") == Approx(8192.0 * 8192.0 * token).epsilon(1e-3));
  CHECK(figure(cost.operations, "update") == Approx(4.0 * figure(cost.operations, "logprob")));
  CHECK(figure(cost.operations, "decode") == Approx(figure(cost.operations, "logprob")));
  CHECK(figure(cost.times, "update") == Approx(figure(cost.operations, "update") / (512 * 989e12 * 0.35)));
}

TEST_CASE("layouts that cannot be are named with their numbers") {
  const model::Architecture v3 = model::architecture_preset("deepseek_v3");
  Layout l = paper_layout();
  CHECK(layout_problem(v3, l).empty());
  l.expert_parallel = 3;
  CHECK(layout_problem(v3, l) == "--expert-parallel: expected a divisor of 512 trainer ranks and of 256 experts, found 3");
  l = paper_layout();
  l.rollout_ranks = 512;
  CHECK(layout_problem(v3, l) == "--rollout-ranks: expected fewer than the 512 ranks, found 512");
  l = paper_layout();
  l.context_parallel = 7;
  CHECK(layout_problem(v3, l) == "--context-parallel: expected a divisor of 512 trainer ranks, found 7");
  l = paper_layout();
  l.zero1 = false;
  CHECK(layout_problem(v3, l) == "--parameter-sharding: expected full only with --optimizer-sharding zero1, found full");
}

}  // namespace
}  // namespace cohort::launcher
