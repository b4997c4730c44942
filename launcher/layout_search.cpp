#include "launcher/layout_search.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "core/base/error.h"

namespace cohort::launcher {
namespace {

/// Powers of two up to `most`, or what is wished.
std::vector<int64_t> powers(int64_t most, const std::optional<int64_t>& wish) {
  if (wish) return {*wish};
  std::vector<int64_t> out;
  for (int64_t x = 1; x <= most; x *= 2) out.push_back(x);
  return out;
}

std::vector<bool> either(const std::optional<bool>& wish) { return wish ? std::vector<bool>{*wish} : std::vector<bool>{false, true}; }

std::vector<int64_t> rollout_choices(const LayoutWish& w, const Device& device) {
  const bool split_only = w.placement == "split" || w.rollout_ranks;
  std::vector<int64_t> out;
  if (!split_only) out.push_back(0);
  if (w.rollout_ranks) return {*w.rollout_ranks};
  if (w.placement == "colocated") return out;
  const int64_t unit = w.ranks >= 2 * device.ranks_per_node ? device.ranks_per_node : 1;
  for (const int64_t eighths : {2, 3, 4, 5, 6}) {
    const int64_t ranks = w.ranks * eighths / 8 / unit * unit;
    if (ranks > 0 && ranks < w.ranks && (out.empty() || out.back() != ranks)) out.push_back(ranks);
  }
  return out;
}

class Search {
 public:
  Search(const LayoutWish& wish, const std::vector<StageWork>& stages, const Device& device, const Efficiency& efficiency)
      : wish_(wish), stages_(stages), device_(device), efficiency_(efficiency), largest_(stages.front().shape) {
    for (const StageWork& stage : stages) {
      if (stage.shape.parameters() > largest_.parameters()) largest_ = stage.shape;
      any_rl_ = any_rl_ || is_rl(stage);
    }
  }

  FoundLayout run() {
    if (wish_.rollout_ranks && *wish_.rollout_ranks >= wish_.ranks)
      throw InputError(
          fmt::format("command line: --rollout-ranks: expected fewer than the {} ranks, found {}", wish_.ranks, *wish_.rollout_ranks));
    for (const int64_t rollout_ranks : rollout_choices(wish_, device_)) {
      Layout l;
      l.ranks = wish_.ranks;
      l.rollout_ranks = rollout_ranks;
      l.max_staleness = l.split() ? wish_.max_staleness.value_or(1) : 0;
      over_experts(l);
    }
    if (found_.tried == 0) throw InputError("command line: " + (problem_.empty() ? "expected a possible layout, found none" : problem_));
    return found_;
  }

 private:
  void over_experts(Layout l) {
    const int64_t experts = std::max<int64_t>(1, largest_.n_routed_experts);
    for (const int64_t ep : powers(std::min(experts, std::max<int64_t>(1, l.trainers())), wish_.expert_parallel)) {
      l.expert_parallel = ep;
      const std::vector<int64_t> rollout =
          l.split() ? powers(std::min(experts, l.rollout_ranks), wish_.rollout_expert_parallel) : std::vector<int64_t>{ep};
      for (const int64_t rollout_ep : rollout) {
        l.rollout_expert_parallel = rollout_ep;
        for (const int64_t context : powers(std::min<int64_t>(64, l.trainers()), wish_.context_parallel)) {
          l.context_parallel = context;
          over_switches(l);
        }
      }
    }
  }

  void over_switches(Layout l) {
    for (const bool offload : either(wish_.offload))
      for (const bool recompute : either(wish_.recompute))
        for (const bool zero1 : either(wish_.zero1))
          for (const bool sharded : either(wish_.sharded_parameters)) {
            if (sharded && !zero1 && !wish_.zero1) continue;
            l.offload = offload, l.recompute = recompute, l.zero1 = zero1, l.sharded_parameters = sharded;
            consider(l);
          }
  }

  void consider(const Layout& l) {
    std::string problem = layout_problem(largest_, l);
    if (problem.empty() && wish_.data_parallel && *wish_.data_parallel != l.data_parallel())
      problem = fmt::format("--data-parallel: expected data parallel x expert parallel = {} trainer ranks, found {} x {} = {}",
                            l.trainers(), *wish_.data_parallel, l.expert_parallel, *wish_.data_parallel * l.expert_parallel);
    if (!problem.empty()) {
      if (problem_.empty()) problem_ = problem;
      return;
    }
    ++found_.tried;
    double seconds = 0.0, peak = 0.0;
    for (const StageWork& stage : stages_) {
      const StageCost cost = plan_stage(stage, l, device_, efficiency_, false);
      if (is_rl(stage) || !any_rl_) seconds += cost.step_seconds();
      peak = std::max(peak, cost.peak());
      if (found_.fits && !cost.fits(usable())) break;
    }
    const bool fits = peak <= usable();
    if (fits) ++found_.fitting;
    const double score = fits ? seconds : peak;
    if (fits < found_.fits || (fits == found_.fits && score >= best_)) return;
    best_ = score;
    found_.layout = l;
    found_.fits = fits;
  }

  static bool is_rl(const StageWork& w) { return w.samples() && w.trains(); }
  double usable() const { return device_.memory * efficiency_.usable_memory; }

  const LayoutWish& wish_;
  const std::vector<StageWork>& stages_;
  const Device& device_;
  const Efficiency& efficiency_;
  model::Architecture largest_;
  bool any_rl_ = false;
  FoundLayout found_;
  double best_ = std::numeric_limits<double>::infinity();
  std::string problem_;
};

/// For memory that rollouts need. Empty: there is nothing to change.
std::string rollout_remedy(const std::string& part, const StageWork& w, const Layout& l) {
  const int64_t ep = l.split() ? l.rollout_expert_parallel : l.expert_parallel;
  if (part == "weights_experts")
    return fmt::format(
        "{} {}", l.split() ? "--rollout-expert-parallel" : "cluster.expert_parallel_size:", std::min(w.shape.n_routed_experts, 2 * ep));
  if (part == "kv_cache") return "stages." + w.name + ".rollout.max_response_length: shorter, or more rollout ranks";
  return part == "weights_dense" || part == "transfer_buckets" ? "" : "--offload idle";
}

std::string trainer_remedy(const std::string& part, const StageWork& w, const Layout& l) {
  const std::string more = l.split() ? "more trainer ranks" : "more ranks";
  if (part.find("reference_") == 0 && !l.offload) return "stages." + w.name + ".algorithm.use_kl_loss: false, or --offload idle";
  if (part.find("dense") != std::string::npos) return l.sharded_parameters ? more : "trainer.parameter_sharding: full";
  if (part == "moments" || part == "masters") return l.zero1 ? more : "trainer.optimizer_sharding: zero1";
  if (part.find("experts") != std::string::npos)
    return l.expert_parallel < w.shape.n_routed_experts ? fmt::format("cluster.expert_parallel_size: {}", 2 * l.expert_parallel) : more;
  if (part == "activations" && !l.recompute) return "trainer.recompute: layer";
  if (part == "activations" || part == "logits" || part == "backward_pass" || part == "dispatch_buffers")
    return w.micro_batch > 1 ? fmt::format("trainer.micro_batch_size: {}", w.micro_batch / 2)
                             : fmt::format("--context-parallel {}, or shorter answers", 2 * l.context_parallel);
  return {};
}

}  // namespace

FoundLayout find_layout(const LayoutWish& wish, const std::vector<StageWork>& stages, const Device& device, const Efficiency& efficiency) {
  return Search(wish, stages, device, efficiency).run();
}

std::vector<std::string> remedies(const StageWork& work, const Layout& layout, const StageCost& cost) {
  const auto worst = std::max_element(cost.memory.begin(), cost.memory.end(),
                                      [](const PhaseMemory& a, const PhaseMemory& b) { return a.total() < b.total(); });
  if (worst == cost.memory.end()) return {};
  std::vector<Figure> parts = worst->parts;
  std::stable_sort(parts.begin(), parts.end(), [](const Figure& a, const Figure& b) { return a.value > b.value; });
  std::vector<std::string> out;
  for (const Figure& part : parts) {
    const std::string key = worst->phase == "rollout" ? rollout_remedy(part.name, work, layout) : trainer_remedy(part.name, work, layout);
    if (!key.empty() && out.size() < 3) out.push_back(fmt::format("{} ({:.1f} GB): {}", part.name, part.value / 1e9, key));
  }
  return out;
}

}  // namespace cohort::launcher
