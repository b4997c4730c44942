#pragma once
/// What a stage needs and takes on a cluster of devices: memory, traffic, operations and time per rank, as pure functions of shapes. Every
/// figure carries the arithmetic that gave it.
///
/// This is a plan: it covers layouts that this build cannot run yet (build_abilities.h says which).

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/model/architecture.h"

namespace cohort::launcher {

/// A device and its links, per rank. Defaults: an H800 node. Rates are what was measured or published, not what is printed on the box:
///   peak_flops        989e12 bf16, dense (data sheet)
///   memory_bandwidth  3.35e12 B/s (data sheet; FlashMLA's README reports 3.0e12 in use)
///   nvlink            158e9 B/s and network 50e9 B/s per rank (DeepEP's README: 153-158 within a node, 43-58 across)
///   host_link         50e9 B/s, PCIe 5 x16 in use (our assumption)
struct Device {
  double memory = 80e9;  ///< bytes
  int64_t ranks_per_node = 8;
  double peak_flops = 989e12;
  double memory_bandwidth = 3.35e12;
  double nvlink = 158e9;
  double network = 50e9;
  double host_link = 50e9;
};

/// What of the above is reached, and what is left for others.
///   mfu                 0.35: DeepSeek-V3's pretraining (2.664 M H800 hours for 14.8 T tokens). With nothing hidden behind it; verl
///   reports
///                       0.19 with everything in, for GRPO on the same model (docs/perf/dpsk.md)
///   decode_bandwidth    0.6 of memory_bandwidth: the low end of what tuned engines reach
///   usable_memory       0.92: the rest is for the driver, communication buffers and fragmentation
struct Efficiency {
  double mfu = 0.35;
  double decode_bandwidth = 0.6;
  double usable_memory = 0.92;
};

/// How ranks are used. Trainer ranks = data_parallel x expert_parallel: each holds 1 / expert_parallel of the experts and data_parallel
/// ranks hold the same ones; the rest of the model is on all of them. Neighbouring ranks share a context, then the experts.
struct Layout {
  int64_t ranks = 1;
  int64_t rollout_ranks = 0;  ///< 0: colocated, every rank rolls out and then trains
  int64_t expert_parallel = 1;
  int64_t rollout_expert_parallel = 1;  ///< colocated: expert_parallel
  int64_t context_parallel = 1;         ///< ranks that share one sequence; each gathers the keys and values of a layer
  bool zero1 = false;                   ///< masters and moments: each rank a slice
  bool sharded_parameters = false;      ///< weights and gradients without the experts: each rank a slice, gathered layer by layer
  bool recompute = false;               ///< the backward pass computes a layer's activations again
  bool offload = false;                 ///< what a phase does not use is in host memory, as in the paper's appendix B.1
  int64_t max_staleness = 0;            ///< split: batches that rollouts may be ahead

  bool split() const { return rollout_ranks > 0; }
  int64_t trainers() const { return ranks - rollout_ranks; }
  int64_t samplers() const { return split() ? rollout_ranks : ranks; }
  int64_t data_parallel() const { return trainers() / expert_parallel; }
};

/// Bytes of a number. bf16: weights and activations 2, with fp32 masters; fp32: the weights are the masters. Gradients, moments, logits: 4.
struct Precision {
  int64_t weights = 2;
  bool masters() const { return weights < 4; }
};

/// A step of a stage, over all ranks.
struct StageWork {
  std::string name, type;
  model::Architecture shape;
  Precision precision;
  // Sampling; answers 0: none
  int64_t questions = 0, answers = 0;  ///< answers per question
  int64_t max_num_seqs = 1;
  // Lengths
  double prompt_mean = 0.0, response_mean = 0.0;
  int64_t prompt_longest = 0, response_longest = 0;
  double square_ratio = 1.0;  ///< E[L^2] / E[L]^2 of responses
  // Training; sequences 0: none
  int64_t sequences = 0;  ///< in all optimizer steps of one pass
  int64_t passes = 1;     ///< over them (ppo_epochs)
  int64_t optimizer_steps = 1;
  int64_t micro_batch = 1;      ///< sequences
  bool old_logprobs = false;    ///< a pass of the policy before the first update
  bool reference = false;       ///< a frozen copy, and a pass of it
  bool sampled_policy = false;  ///< a frozen copy that is only sampled (reward_model)
  std::optional<model::Architecture> reward_model;

  bool samples() const { return answers > 0; }
  bool trains() const { return sequences > 0; }
};

/// `name` is a stable key; `value` in bytes, operations or seconds.
struct Figure {
  std::string name;
  double value = 0.0;
  std::string arithmetic;
};

/// What is in a rank's memory at the same time.
struct PhaseMemory {
  std::string role;   ///< "rollout", "trainer" or, colocated, "rank"
  std::string phase;  ///< "rollout", "logprob", "update"
  std::vector<Figure> parts;
  double total() const;
};

/// Bytes that a rank of `role` sends per step (receives, for weight_transfer).
struct Transfer {
  std::string name, role;
  double nvlink = 0.0, network = 0.0;
  std::string arithmetic;
  double seconds(const Device& device) const { return nvlink / device.nvlink + network / device.network; }
};

/// What decoding takes, for the simulation: one decode step of one rank with c answers in progress takes base + c · per_answer.
struct DecodeRate {
  double base = 0.0, per_answer = 0.0;  ///< seconds
  int64_t places = 0;                   ///< answers that a rank decodes at a time
};

struct StageCost {
  std::vector<PhaseMemory> memory;
  std::vector<Transfer> traffic;
  std::vector<Figure> operations;  ///< FLOP per step, all ranks
  std::vector<Figure> times;       ///< seconds per step; the last is the step's
  DecodeRate decode;
  double train_seconds = 0.0;  ///< of the trainers per step: log-probabilities, updates, traffic
  double host_bytes = 0.0;     ///< per node, with offload
  double peak() const;
  double step_seconds() const { return times.empty() ? 0.0 : times.back().value; }
  bool fits(double usable) const { return peak() <= usable; }
};

/// Pure. The layout must be valid (layout_problem). Where even one answer has no room in the cache, its size is planned all the same, so
/// that peak() says by how much it is too large. `explain` false leaves arithmetic empty (for searching).
StageCost plan_stage(const StageWork& work, const Layout& layout, const Device& device, const Efficiency& efficiency, bool explain);

/// What is wrong with a layout for this model, "--expert-parallel: expected …, found …"; empty: nothing.
std::string layout_problem(const model::Architecture& shape, const Layout& layout);

}  // namespace cohort::launcher
