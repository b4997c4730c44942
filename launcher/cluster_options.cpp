#include "launcher/cluster_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/text_util.h"
#include "launcher/cluster_report.h"
#include "launcher/cluster_work.h"
#include "launcher/length_distribution.h"

namespace cohort::launcher {
namespace {

const char* const kCluster = "Cluster";
const char* const kLayout = "Cluster layout (what is not given is searched)";
const char* const kDevice = "Device and efficiencies (defaults: H800)";
constexpr int64_t kMaxSimulated = 4'000'000;  // answers

/// Lengths of answers, from a file or a distribution.
struct Lengths {
  std::vector<int64_t> seen;
  LengthDistribution distribution;
  std::string source;

  std::vector<int64_t> draw(int64_t count, uint64_t seed, int64_t batch) const {
    const auto b = static_cast<uint64_t>(batch);
    return seen.empty() ? draw_lengths(distribution, count, seed, b) : draw_lengths(seen, count, seed, b);
  }
};

double mean_of(const std::vector<int64_t>& lengths, double power) {
  double sum = 0.0;
  for (const int64_t length : lengths) sum += std::pow(static_cast<double>(length), power);
  return sum / static_cast<double>(lengths.size());
}

class ClusterCommand {
 public:
  ClusterCommand(const ClusterOptions& options, const pipeline::Recipe& recipe, int64_t ranks) : o_(options), recipe_(recipe) {
    wish_ = options.wish;
    wish_.ranks = ranks;
    device_ = options.device;
    device_.peak_flops = options.peak_tflops * 1e12;
    device_.memory_bandwidth = options.memory_gbs * 1e9;
    device_.nvlink = options.nvlink_gbs * 1e9;
    device_.network = options.network_gbs * 1e9;
    device_.host_link = options.host_gbs * 1e9;
    if (!options.lengths.empty()) seen_ = read_sample_lengths(options.lengths);
    if (wish_.placement == "colocated" && wish_.rollout_ranks)
      throw InputError("command line: --rollout-ranks: expected --placement split beside it, found colocated");
    const double mean = seen_.empty() ? options.mean_length : mean_of(seen_, 1.0);
    const double ratio = seen_.empty() ? 0.0 : mean_of(seen_, 2.0) / mean / mean;
    works_ = cluster_work(recipe, mean, ratio);
    for (const StageWork& w : works_)
      if (seen_.empty() && w.name == options.stage && options.mean_length > static_cast<double>(w.response_longest))
        throw InputError(fmt::format("command line: --mean-length: expected at most the {} tokens of stage {}, found {}",
                                     w.response_longest, w.name, options.mean_length));
  }

  std::string run(bool as_json) {
    nlohmann::ordered_json json;
    std::string text;
    if (!o_.gpu_memory.empty()) {
      device_.memory = parse_memory(o_.gpu_memory);
      const ClusterReport report = cluster();
      if (as_json)
        json = cluster_json(report);
      else
        text = cluster_text(report);
    }
    if (o_.simulate) {
      const SimulationReport report = simulation();
      if (as_json)
        json["simulation"] = simulation_json(report);
      else
        text += simulation_text(report);
    }
    return as_json ? json.dump(2) + "\n" : text;
  }

 private:
  ClusterReport cluster() const {
    ClusterReport report{recipe_.run.name, device_, o_.efficiency, find_layout(wish_, works_, device_, o_.efficiency), {}, 0};
    double longest = 0.0;
    for (size_t i = 0; i < works_.size(); ++i) {
      report.stages.push_back({works_[i], plan_stage(works_[i], report.found.layout, device_, o_.efficiency, true)});
      const StageCost& cost = report.stages.back().cost;
      const bool rl = works_[i].samples() && works_[i].trains();
      if (o_.stage.empty() && rl && cost.step_seconds() > longest) longest = cost.step_seconds(), report.shown = i;
    }
    if (!o_.stage.empty()) report.shown = stage_index([](const StageWork&) { return true; });
    return report;
  }

  /// The stage that was asked for, else the first of a kind.
  template <class Kind>
  size_t stage_index(const Kind& kind) const {
    std::vector<std::string> names;
    for (size_t i = 0; i < works_.size(); ++i) {
      if (!kind(works_[i])) continue;
      if (o_.stage.empty() || works_[i].name == o_.stage) return i;
      names.push_back(works_[i].name);
    }
    if (names.empty()) throw InputError("command line: --simulate: expected a recipe with a stage of type rl, found none");
    throw InputError(fmt::format("command line: --stage: expected one of {}, found \"{}\"", join(names), printable(o_.stage)));
  }

  // ---- Simulation ------------------------------------------------------------------------------------------------------------------

  Lengths lengths_of(const StageWork& w) const {
    if (!seen_.empty()) return {seen_, {}, fmt::format("lengths of {} answers of {}", seen_.size(), o_.lengths)};
    const LengthDistribution d{w.response_mean, static_cast<double>(w.response_longest)};
    return {{}, d, fmt::format("log-normal lengths, sigma {:.2f}", d.sigma())};
  }

  SimulationReport simulation() const {
    const StageWork& w = works_[stage_index([](const StageWork& x) { return x.samples() && x.trains(); })];
    const Lengths lengths = lengths_of(w);
    const int64_t answers = w.questions * w.answers;
    if (answers > kMaxSimulated / o_.steps)
      throw InputError(
          fmt::format("command line: --steps: expected at most {} answers in all, found {} x {}", kMaxSimulated, o_.steps, answers));
    SimulationReport report;
    report.stage = w.name;
    report.lengths = fmt::format("{} steps of {} answers, {}, seed {}", o_.steps, answers, lengths.source, o_.seed);
    double sum = 0.0;
    for (int64_t batch = 0; batch < o_.steps; ++batch)
      for (const int64_t length : lengths.draw(answers, o_.seed, batch))
        sum += static_cast<double>(length), report.longest = std::max(report.longest, length);
    report.mean_length = sum / static_cast<double>(answers * o_.steps);
    for (const Layout& layout : shares()) {
      SimulationRow row = row_of(w, layout);
      if (row.fits) row.result = simulate_rollouts(config_of(w, row), [&](int64_t batch) { return lengths.draw(answers, o_.seed, batch); });
      report.rows.push_back(row);
    }
    return report;
  }

  /// Colocated, then split at several shares, each at staleness 0 and as wished.
  std::vector<Layout> shares() const {
    std::vector<Layout> out;
    Layout l;
    l.ranks = wish_.ranks;
    if (wish_.placement != "split" && !wish_.rollout_ranks) out.push_back(l);
    std::vector<int64_t> rollouts;
    if (wish_.rollout_ranks) rollouts.push_back(*wish_.rollout_ranks);
    for (const int64_t eighths : {1, 2, 3, 4, 5, 6, 7}) {
      const int64_t ranks = wish_.ranks * eighths / 8;
      const bool fresh = rollouts.empty() || rollouts.back() != ranks;
      if (!wish_.rollout_ranks && wish_.placement != "colocated" && ranks > 0 && ranks < wish_.ranks && fresh) rollouts.push_back(ranks);
    }
    std::vector<int64_t> staleness = {0};
    if (const int64_t most = wish_.max_staleness.value_or(1); most > 0) staleness.push_back(most);
    for (const int64_t ranks : rollouts)
      for (const int64_t k : staleness) {
        l.rollout_ranks = ranks;
        l.max_staleness = k;
        out.push_back(l);
      }
    return out;
  }

  bool measured() const { return o_.decode_step_seconds > 0.0; }

  /// The best layout for this share of the ranks, or the measured rates.
  SimulationRow row_of(const StageWork& w, const Layout& share) const {
    SimulationRow row;
    row.layout = share;
    if (measured()) {
      const std::string problem = layout_problem(w.shape, share);
      if (!problem.empty()) throw InputError("command line: " + problem);
      row.decode = {o_.decode_step_seconds, 0.0, w.max_num_seqs};
      return row;
    }
    LayoutWish wish = wish_;
    wish.placement = share.split() ? "split" : "colocated";
    wish.max_staleness = share.max_staleness;
    wish.rollout_ranks.reset();
    if (share.split()) wish.rollout_ranks = share.rollout_ranks;
    const FoundLayout found = find_layout(wish, {w}, device_, o_.efficiency);
    row.layout = found.layout;
    row.fits = found.fits;
    row.decode = plan_stage(w, found.layout, device_, o_.efficiency, false).decode;
    return row;
  }

  SimulationConfig config_of(const StageWork& w, const SimulationRow& row) const {
    SimulationConfig c;
    c.rollout_ranks = row.layout.samplers();
    c.places = row.decode.places;
    c.batches = o_.steps;
    c.max_staleness = row.layout.max_staleness;
    c.step_seconds = row.decode.base;
    c.step_seconds_per_answer = row.decode.per_answer;
    if (measured()) {
      c.train_seconds_per_token = o_.train_token_seconds / static_cast<double>(row.layout.trainers());
      return c;
    }
    const StageCost cost = plan_stage(w, row.layout, device_, o_.efficiency, false);
    c.train_seconds_per_token = cost.train_seconds / (static_cast<double>(w.sequences) * w.response_mean);
    for (const Transfer& t : cost.traffic)
      if (t.name == "weight_transfer") c.publish_seconds = t.seconds(device_);
    return c;
  }

  const ClusterOptions& o_;
  const pipeline::Recipe& recipe_;
  LayoutWish wish_;
  Device device_;
  std::vector<int64_t> seen_;
  std::vector<StageWork> works_;
};

/// An option that is a choice of two words and fixes a switch.
void add_switch(CLI::App& command, const char* name, std::optional<bool>& value, const char* on, const char* help) {
  command
      .add_option_function<std::string>(
          name, [&value, on](const std::string& word) { value = word == on; }, help)
      ->check(CLI::IsMember({"none", on}))
      ->group(kLayout);
}

/// The first option of the command line that would change nothing: of a cluster without --gpu-memory.
std::string idle_option(const CLI::App& command, bool measured) {
  const std::vector<std::string> used = {"--stage", "--mean-length", "--lengths", "--placement", "--rollout-ranks", "--max-staleness"};
  for (const CLI::Option* option : command.get_options()) {
    const std::string group = option->get_group();
    const bool uses = measured && std::find(used.begin(), used.end(), option->get_name()) != used.end();
    if (option->count() > 0 && !uses && (group == kCluster || group == kLayout || group == kDevice)) return option->get_name();
  }
  return {};
}

}  // namespace

void check_cluster_options(const CLI::App& command, const ClusterOptions& o) {
  if (!o.gpu_memory.empty()) return;
  const bool measured = o.decode_step_seconds > 0.0;
  const std::string idle = idle_option(command, measured);
  if (!idle.empty()) throw InputError("command line: " + idle + ": expected --gpu-memory beside it, found none");
  if (o.simulate && !measured)
    throw InputError("command line: --simulate: expected --gpu-memory, or --decode-step-seconds and --train-token-seconds, found neither");
}

double parse_memory(const std::string& text) {
  struct Unit {
    const char* name;
    double bytes;
  };
  constexpr Unit kUnits[] = {{"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}};
  double number = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string unit(end, text.data() + text.size());
  for (const Unit& u : kUnits)
    if (error == std::errc() && unit == u.name && number > 0.0 && number <= 1e9) return number * u.bytes;
  throw InputError("command line: --gpu-memory: expected a size such as 80GB or 80GiB, found \"" + printable(text) + "\"");
}

void add_cluster_options(CLI::App& command, ClusterOptions& o) {
  command.add_option("--gpu-memory", o.gpu_memory, "plan a cluster: memory of a rank's device, such as 80GB")->group(kCluster);
  command.add_option("--stage", o.stage, "stage to show in full, or to simulate")->group(kCluster);
  command.add_option("--mean-length", o.mean_length, "mean tokens of an answer (default: a quarter of the longest)")
      ->check(CLI::Range(1.0, 1e9))
      ->group(kCluster);
  command.add_option("--lengths", o.lengths, "take lengths of answers from a run's samples/STAGE.jsonl")
      ->group(kCluster)
      ->excludes("--mean-length");

  command.add_option("--placement", o.wish.placement, "colocated or split")->check(CLI::IsMember({"colocated", "split"}))->group(kLayout);
  const auto count = [&](const char* name, std::optional<int64_t>& value, const char* help, int64_t least) {
    command.add_option(name, value, help)->check(CLI::Range(least, int64_t{1} << 20))->group(kLayout);
  };
  count("--rollout-ranks", o.wish.rollout_ranks, "ranks that only roll out (split)", 1);
  count("--data-parallel", o.wish.data_parallel, "copies of the experts among trainer ranks", 1);
  count("--expert-parallel", o.wish.expert_parallel, "trainer ranks that share the experts", 1);
  count("--rollout-expert-parallel", o.wish.rollout_expert_parallel, "rollout ranks that share the experts (split)", 1);
  count("--context-parallel", o.wish.context_parallel, "trainer ranks that share a sequence", 1);
  count("--max-staleness", o.wish.max_staleness, "batches that rollouts may be ahead (split)", 0);
  add_switch(command, "--optimizer-sharding", o.wish.zero1, "zero1", "none or zero1");
  add_switch(command, "--parameter-sharding", o.wish.sharded_parameters, "full", "none or full");
  add_switch(command, "--recompute", o.wish.recompute, "layer", "none or layer");
  add_switch(command, "--offload", o.wish.offload, "idle", "none, or idle: what a phase does not use is in host memory");

  const auto rate = [&](const char* name, double& value, const char* help, double most) {
    command.add_option(name, value, help)->capture_default_str()->check(CLI::Range(1e-3, most))->group(kDevice);
  };
  command.add_option("--ranks-per-node", o.device.ranks_per_node, "ranks of one node")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024))
      ->group(kDevice);
  rate("--peak-tflops", o.peak_tflops, "bf16, dense", 1e6);
  rate("--memory-gbs", o.memory_gbs, "device memory", 1e6);
  rate("--nvlink-gbs", o.nvlink_gbs, "within a node, per rank", 1e6);
  rate("--network-gbs", o.network_gbs, "across nodes, per rank", 1e6);
  rate("--host-gbs", o.host_gbs, "device to host memory, per rank", 1e6);
  rate("--mfu", o.efficiency.mfu, "share of the peak in training and prefill", 1.0);
  rate("--decode-efficiency", o.efficiency.decode_bandwidth, "share of the memory bandwidth while decoding", 1.0);
  rate("--usable-memory", o.efficiency.usable_memory, "share of the device's memory", 1.0);

  const char* const kSimulate = "Simulation";
  CLI::Option* simulate =
      command.add_flag("--simulate", o.simulate, "replay answers through rollout and trainer ranks for several shares of the ranks")
          ->group(kSimulate);
  command.add_option("--steps", o.steps, "rollout steps to simulate")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000'000))
      ->group(kSimulate)
      ->needs(simulate);
  command.add_option("--seed", o.seed, "of the lengths")->capture_default_str()->group(kSimulate)->needs(simulate);
  CLI::Option* decode = command.add_option("--decode-step-seconds", o.decode_step_seconds, "measured: one decode step of a rank")
                            ->check(CLI::Range(1e-9, 1e6))
                            ->group(kSimulate)
                            ->needs(simulate);
  CLI::Option* train =
      command.add_option("--train-token-seconds", o.train_token_seconds, "measured: rank seconds of training per sampled token")
          ->check(CLI::Range(1e-12, 1e6))
          ->group(kSimulate)
          ->needs(simulate);
  decode->needs(train);
  train->needs(decode);
}

std::string cluster_output(const ClusterOptions& options, const pipeline::Recipe& recipe, int64_t ranks, bool as_json) {
  return ClusterCommand(options, recipe, ranks).run(as_json);
}

}  // namespace cohort::launcher
