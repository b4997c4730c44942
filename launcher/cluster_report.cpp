#include "launcher/cluster_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "launcher/build_abilities.h"

namespace cohort::launcher {
namespace {

using nlohmann::ordered_json;
using Out = std::back_insert_iterator<std::string>;

double gb(double bytes) { return bytes / 1e9; }

std::string readable_time(double seconds) {
  if (seconds < 1.0) return fmt::format("{:.1f} ms", seconds * 1e3);
  if (seconds < 3600.0) return fmt::format("{:.1f} s", seconds);
  return fmt::format("{:.2f} h", seconds / 3600.0);
}

double usable(const ClusterReport& r) { return r.device.memory * r.efficiency.usable_memory; }

std::string yes(bool value) { return value ? "yes" : "no"; }

void write_layout(Out out, const ClusterReport& r) {
  const Layout& l = r.found.layout;
  const int64_t nodes = (l.ranks + r.device.ranks_per_node - 1) / r.device.ranks_per_node;
  fmt::format_to(out, "{}: {} ranks on {} node(s) of {}, {:.0f} GB each\n\n", r.recipe, l.ranks, nodes, r.device.ranks_per_node,
                 gb(r.device.memory));
  if (r.found.fits)
    fmt::format_to(out, "layout: FITS; the fastest of {} fitting among {} tried\n", r.found.fitting, r.found.tried);
  else
    fmt::format_to(out, "layout: DOES NOT FIT; the smallest of {} tried\n", r.found.tried);
  if (l.split()) {
    fmt::format_to(out, "  {} rollout ranks + {} trainer ranks = {} (split, max_staleness {})\n", l.rollout_ranks, l.trainers(), l.ranks,
                   l.max_staleness);
    fmt::format_to(out, "  rollout ranks share the experts by {}\n", l.rollout_expert_parallel);
  } else {
    fmt::format_to(out, "  colocated: every rank rolls out, then trains\n");
  }
  fmt::format_to(out, "  trainer ranks: data parallel {} x expert parallel {} = {}\n", l.data_parallel(), l.expert_parallel, l.trainers());
  fmt::format_to(
      out, "  a sequence over {} rank(s) (context parallel); ZeRO-1 {}; sharded parameters {}; recompute {}; idle state to the host {}\n",
      l.context_parallel, yes(l.zero1), yes(l.sharded_parameters), yes(l.recompute), yes(l.offload));
}

void write_assumptions(Out out, const ClusterReport& r, const StageWork& w) {
  const Device& d = r.device;
  fmt::format_to(out, "\nassumed (each has a flag, see --help)\n");
  fmt::format_to(out,
                 "  device    {:.0f} TFLOP/s at mfu {} (DeepSeek-V3's pretraining; verl's GRPO on the same model reports 0.19 over all)\n",
                 d.peak_flops / 1e12, r.efficiency.mfu);
  fmt::format_to(out, "            {:.0f} GB/s of memory, {} of it while decoding; {:.0f} % of {:.0f} GB usable\n",
                 d.memory_bandwidth / 1e9, r.efficiency.decode_bandwidth, 100.0 * r.efficiency.usable_memory, gb(d.memory));
  fmt::format_to(
      out, "  links     {:.0f} GB/s within a node, {:.0f} GB/s across, per rank (DeepEP: 153-158 and 43-58); exchanges while decoding\n",
      d.nvlink / 1e9, d.network / 1e9);
  fmt::format_to(out, "            191 us over 8 ranks to 554 us over 256 per layer and 128 tokens (DeepEP, low latency)\n");
  fmt::format_to(out, "  numbers   weights and activations {} B, {}gradients, moments and logits 4 B\n", w.precision.weights,
                 w.precision.masters() ? "fp32 masters, " : "");
  fmt::format_to(out, "  experts   all equally busy; answers in the cache at their full length; latent attention in its absorbed form\n");
}

void write_abilities(Out out, const PlannedStage& s, const Layout& l) {
  fmt::format_to(out, "\ncan this build run it?\n");
  for (const Ability& a : abilities_for(s.work, l, s.cost))
    fmt::format_to(out, "  {:3}  {}{}\n", yes(a.supported), a.option, a.supported || a.remark.empty() ? "" : " (" + a.remark + ")");
}

void write_stage(Out out, const PlannedStage& s, const ClusterReport& r) {
  const StageWork& w = s.work;
  fmt::format_to(out, "\n{} ({}), line by line\n", w.name, w.type);
  if (w.samples())
    fmt::format_to(out,
                   "  per step: {} questions x {} answers; prompts of {:.0f} tokens (longest {}), answers of {:.0f} (longest {}), E[L^2] = "
                   "{:.2f} E[L]^2\n",
                   w.questions, w.answers, w.prompt_mean, w.prompt_longest, w.response_mean, w.response_longest, w.square_ratio);
  if (w.trains())
    fmt::format_to(out, "  trained: {} sequences in {} optimizer step(s), {} pass(es)\n", w.sequences, w.optimizer_steps, w.passes);
  for (const PhaseMemory& phase : s.cost.memory) {
    fmt::format_to(out, "  memory of a {}, {}: {:.2f} of {:.2f} GB{}\n", phase.role == "rank" ? "rank" : phase.role + " rank", phase.phase,
                   gb(phase.total()), gb(usable(r)), phase.total() > usable(r) ? "  DOES NOT FIT" : "");
    for (const Figure& f : phase.parts) fmt::format_to(out, "    {:24} {:9.3f} GB = {}\n", f.name, gb(f.value), f.arithmetic);
  }
  if (s.cost.host_bytes > 0.0) fmt::format_to(out, "  host memory of a node: {:.0f} GB\n", gb(s.cost.host_bytes));
  if (!s.cost.traffic.empty()) fmt::format_to(out, "  bytes per step and rank, within a node (NVLink) and across (network)\n");
  for (const Transfer& t : s.cost.traffic)
    fmt::format_to(out, "    {:24} {:9.2f} GB {:9.2f} GB  {} ({}): {}\n", t.name, gb(t.nvlink), gb(t.network),
                   readable_time(t.seconds(r.device)), t.role, t.arithmetic);
  fmt::format_to(out, "  FLOP per step, all ranks\n");
  for (const Figure& f : s.cost.operations) fmt::format_to(out, "    {:24} {:12.3e} = {}\n", f.name, f.value, f.arithmetic);
  fmt::format_to(out, "  time per step\n");
  for (const Figure& f : s.cost.times) fmt::format_to(out, "    {:24} {:>12} = {}\n", f.name, readable_time(f.value), f.arithmetic);
}

void write_all_stages(Out out, const ClusterReport& r) {
  fmt::format_to(out, "\nall stages (a step of rejection_sampling is all of its questions)\n  {:20} {:20} {:>12} {:>12} {:>12}  fits\n",
                 "stage", "type", "peak/rank", "step", "FLOP/step");
  for (const PlannedStage& s : r.stages) {
    double operations = 0.0;
    for (const Figure& f : s.cost.operations) operations += f.value;
    const bool fits = s.cost.fits(usable(r));
    fmt::format_to(out, "  {:20} {:20} {:>9.2f} GB {:>12} {:>12.3e}  {}\n", s.work.name, s.work.type, gb(s.cost.peak()),
                   readable_time(s.cost.step_seconds()), operations, yes(fits));
    if (fits) continue;
    for (const std::string& line : remedies(s.work, r.found.layout, s.cost)) fmt::format_to(out, "      change {}\n", line);
  }
}

ordered_json figures_json(const std::vector<Figure>& figures) {
  ordered_json out = ordered_json::object();
  for (const Figure& f : figures) out[f.name] = {{"value", f.value}, {"arithmetic", f.arithmetic}};
  return out;
}

ordered_json layout_json(const Layout& l) {
  return {{"placement", l.split() ? "split" : "colocated"},
          {"ranks", l.ranks},
          {"rollout_ranks", l.rollout_ranks},
          {"data_parallel", l.data_parallel()},
          {"expert_parallel", l.expert_parallel},
          {"rollout_expert_parallel", l.split() ? l.rollout_expert_parallel : l.expert_parallel},
          {"context_parallel", l.context_parallel},
          {"optimizer_sharding", l.zero1 ? "zero1" : "none"},
          {"parameter_sharding", l.sharded_parameters ? "full" : "none"},
          {"recompute", l.recompute ? "layer" : "none"},
          {"offload", l.offload ? "idle" : "none"},
          {"max_staleness", l.max_staleness}};
}

ordered_json stage_json(const PlannedStage& s, const ClusterReport& r) {
  ordered_json memory = ordered_json::array();
  for (const PhaseMemory& phase : s.cost.memory)
    memory.push_back({{"role", phase.role}, {"phase", phase.phase}, {"total", phase.total()}, {"parts", figures_json(phase.parts)}});
  ordered_json traffic = ordered_json::object();
  for (const Transfer& t : s.cost.traffic)
    traffic[t.name] = {{"role", t.role},
                       {"nvlink_bytes", t.nvlink},
                       {"network_bytes", t.network},
                       {"seconds", t.seconds(r.device)},
                       {"arithmetic", t.arithmetic}};
  ordered_json abilities = ordered_json::array();
  for (const Ability& a : abilities_for(s.work, r.found.layout, s.cost))
    abilities.push_back({{"option", a.option}, {"supported", a.supported}, {"remark", a.remark}});
  return {{"name", s.work.name},
          {"type", s.work.type},
          {"fits", s.cost.fits(usable(r))},
          {"peak_bytes_per_rank", s.cost.peak()},
          {"host_bytes_per_node", s.cost.host_bytes},
          {"memory", memory},
          {"traffic", traffic},
          {"operations", figures_json(s.cost.operations)},
          {"seconds", figures_json(s.cost.times)},
          {"decode",
           {{"base_seconds", s.cost.decode.base}, {"seconds_per_answer", s.cost.decode.per_answer}, {"places", s.cost.decode.places}}},
          {"change", s.cost.fits(usable(r)) ? std::vector<std::string>() : remedies(s.work, r.found.layout, s.cost)},
          {"build", abilities}};
}

}  // namespace

std::string cluster_text(const ClusterReport& report) {
  std::string text;
  const Out out = std::back_inserter(text);
  const PlannedStage& shown = report.stages.at(report.shown);
  write_layout(out, report);
  write_abilities(out, shown, report.found.layout);
  write_all_stages(out, report);
  write_stage(out, shown, report);
  write_assumptions(out, report, shown.work);
  return text;
}

nlohmann::ordered_json cluster_json(const ClusterReport& report) {
  ordered_json stages = ordered_json::array();
  for (const PlannedStage& s : report.stages) stages.push_back(stage_json(s, report));
  return {{"name", report.recipe},
          {"ranks", report.found.layout.ranks},
          {"ranks_per_node", report.device.ranks_per_node},
          {"fits", report.found.fits},
          {"tried", report.found.tried},
          {"fitting", report.found.fitting},
          {"usable_bytes_per_rank", usable(report)},
          {"layout", layout_json(report.found.layout)},
          {"device",
           {{"memory_bytes", report.device.memory},
            {"peak_flops", report.device.peak_flops},
            {"memory_bandwidth", report.device.memory_bandwidth},
            {"nvlink_bandwidth", report.device.nvlink},
            {"network_bandwidth", report.device.network},
            {"host_bandwidth", report.device.host_link},
            {"mfu", report.efficiency.mfu},
            {"decode_bandwidth_share", report.efficiency.decode_bandwidth},
            {"usable_memory_share", report.efficiency.usable_memory}}},
          {"stages", stages}};
}

std::string simulation_text(const SimulationReport& report) {
  std::string text;
  const Out out = std::back_inserter(text);
  fmt::format_to(out, "\nsimulated: {}, {}: mean {:.0f}, longest {} tokens\n", report.stage, report.lengths, report.mean_length,
                 report.longest);
  fmt::format_to(out, "  {:>8} {:>8} {:>9} {:>6} {:>10} {:>12} {:>12} {:>12} {:>12} {:>10}\n", "rollout", "trainer", "staleness", "places",
                 "step", "tokens/s", "rollout busy", "places full", "trainer busy", "mean stale");
  const auto best = std::min_element(report.rows.begin(), report.rows.end(), [](const SimulationRow& a, const SimulationRow& b) {
    return a.fits != b.fits ? a.fits : a.result.seconds < b.result.seconds;
  });
  for (auto row = report.rows.begin(); row != report.rows.end(); ++row) {
    const SimulationResult& s = row->result;
    fmt::format_to(out, "  {:>8} {:>8} {:>9} ", row->layout.samplers(), row->layout.trainers(), row->layout.max_staleness);
    if (row->fits)
      fmt::format_to(out, "{:>6} {:>10} {:>12.0f} {:>10.1f} % {:>10.1f} % {:>10.1f} % {:>10.2f}", row->decode.places,
                     readable_time(s.seconds_per_batch()), static_cast<double>(s.tokens) / s.seconds, 100.0 * s.rollout_busy,
                     100.0 * s.places_filled, 100.0 * s.trainer_busy, s.mean_staleness);
    else
      fmt::format_to(out, "no layout of these ranks fits");
    fmt::format_to(out, "{}{}\n", row->layout.split() ? "" : "  colocated, in turns", row->fits && row == best ? "  <- shortest" : "");
  }
  return text;
}

nlohmann::ordered_json simulation_json(const SimulationReport& report) {
  ordered_json rows = ordered_json::array();
  for (const SimulationRow& row : report.rows) {
    rows.push_back({{"layout", layout_json(row.layout)}, {"fits", row.fits}});
    if (!row.fits) continue;
    rows.back().update({{"places", row.decode.places},
                        {"seconds_per_step", row.result.seconds_per_batch()},
                        {"tokens_per_second", static_cast<double>(row.result.tokens) / row.result.seconds},
                        {"rollout_busy", row.result.rollout_busy},
                        {"places_filled", row.result.places_filled},
                        {"trainer_busy", row.result.trainer_busy},
                        {"mean_staleness", row.result.mean_staleness}});
  }
  return {{"stage", report.stage},
          {"lengths", report.lengths},
          {"mean_length", report.mean_length},
          {"longest", report.longest},
          {"rows", rows}};
}

}  // namespace cohort::launcher
