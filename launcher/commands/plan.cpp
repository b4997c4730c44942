// cohort plan: roles, parameters, memory, tokens per step and an example, without training.

#include "launcher/plan.h"

#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "core/base/text_util.h"
#include "core/text/utf8.h"
#include "distributed/roles/role.h"
#include "launcher/cluster_options.h"
#include "launcher/commands/command.h"
#include "launcher/run_config.h"

namespace cohort::launcher {
namespace {

using nlohmann::ordered_json;

constexpr size_t kShownBytes = 600;  // of an example's prompt and completion in the text form

struct PlanOptions {
  std::string config;
  std::vector<std::string> settings;
  int ranks = 0;
  bool as_json = false;
  ClusterOptions cluster;
};

/// Machines are known only for the ranks of this very job.
std::vector<std::string> hosts_of(int ranks, const comm::Communicator& world) {
  std::vector<std::string> hosts(static_cast<size_t>(ranks), "any machine");
  if (ranks != world.size()) return hosts;
  for (int rank = 0; rank < ranks; ++rank) hosts[static_cast<size_t>(rank)] = world.host(rank);
  return hosts;
}

// ---- JSON --------------------------------------------------------------------------------------------------------------------------

ordered_json step_json(const StepPlan& step) {
  return {{"prompt_tokens", step.prompt_tokens},     {"sampled_tokens", step.sampled_tokens},
          {"sampling_rounds", step.sampling_rounds}, {"trained_tokens", step.trained_tokens},
          {"optimizer_steps", step.optimizer_steps}, {"gradient_bytes_sent_per_rank", step.gradient_bytes_sent}};
}

ordered_json example_json(const ExamplePlan& example) {
  std::vector<int> mask(static_cast<size_t>(example.prompt_tokens), 0);
  mask.resize(static_cast<size_t>(example.prompt_tokens + example.completion_tokens), 1);
  ordered_json rewards;
  for (const records::RewardComponent& r : example.rewards) rewards[r.name()] = {{"value", r.value()}, {"weight", r.weight()}};
  rewards["total"] = example.total_reward;
  return {{"source", example.source},
          {"prompt", text::replace_invalid(example.prompt)},
          {"completion", text::replace_invalid(example.completion)},
          {"loss_mask", mask},
          {"reward", rewards}};
}

ordered_json stage_json(const StagePlan& stage) {
  ordered_json memory;
  for (const auto& [name, bytes] : stage.memory.parts) memory[name] = bytes;
  memory["total"] = stage.memory.total();
  ordered_json result = {{"name", stage.name},
                         {"type", stage.type},
                         {"model_type", stage.family},
                         {"parameters", stage.parameters},
                         {"activated_parameters", stage.activated_parameters},
                         {"memory_bytes_per_rank", memory}};
  if (stage.step) result["step"] = step_json(*stage.step);
  if (stage.example) result["example"] = example_json(*stage.example);
  return result;
}

void print_json(const pipeline::Recipe& recipe, const std::vector<std::string>& roles, const std::vector<StagePlan>& plan) {
  ordered_json stages = ordered_json::array();
  for (const StagePlan& stage : plan) stages.push_back(stage_json(stage));
  const ordered_json result = {{"name", recipe.run.name}, {"ranks", roles.size()}, {"roles", roles}, {"stages", stages}};
  fmt::print("{}\n", result.dump(2));
}

// ---- Text --------------------------------------------------------------------------------------------------------------------------

/// "671.0 B" parameters.
std::string readable_count(int64_t count) {
  const auto value = static_cast<double>(count);
  if (value >= 1e9) return fmt::format("{:.1f} B", value / 1e9);
  if (value >= 1e6) return fmt::format("{:.1f} M", value / 1e6);
  return fmt::format("{:.1f} K", value / 1e3);
}

void print_example(const ExamplePlan& example) {
  fmt::print("    question     one of {}; its own worked answer would earn {:.2f}\n", example.source, example.total_reward);
  fmt::print("    prompt       {}\n", printable(text::replace_invalid(example.prompt), kShownBytes));
  fmt::print("    completion   {}\n", printable(text::replace_invalid(example.completion), kShownBytes));
  fmt::print("    loss mask    {} x 0 (prompt), {} x 1 (completion)\n", example.prompt_tokens, example.completion_tokens);
  std::vector<std::string> terms;
  for (const records::RewardComponent& r : example.rewards) terms.push_back(fmt::format("{} {:g} x {:g}", r.name(), r.weight(), r.value()));
  fmt::print("    reward       {} = {:.2f}\n", join(terms, " + "), example.total_reward);
}

void print_step(const StepPlan& step) {
  fmt::print("    per step     {} prompt tokens; at most {} tokens sampled", step.prompt_tokens, step.sampled_tokens);
  if (step.sampling_rounds > 1) fmt::print(" in each of at most {} rounds", step.sampling_rounds);
  fmt::print("; at most {} trained in {} optimizer step(s)\n", step.trained_tokens, step.optimizer_steps);
  if (step.gradient_bytes_sent > 0)
    fmt::print("    network      {} of gradients sent per rank and optimizer step\n", readable_bytes(step.gradient_bytes_sent));
}

/// Neighbours with the same roles on the same machine share a line: "rank 1 to 511: rollout trainer (any machine)".
void print_roles(const std::vector<std::string>& roles) {
  const auto what = [&](size_t rank) { return roles[rank].substr(roles[rank].find(':')); };
  for (size_t first = 0, last = 0; first < roles.size(); first = last + 1) {
    for (last = first; last + 1 < roles.size() && what(last + 1) == what(first);) ++last;
    fmt::print("  {}\n", last == first ? roles[first] : fmt::format("rank {} to {}{}", first, last, what(first)));
  }
}

void print_text(const pipeline::Recipe& recipe, const std::vector<std::string>& roles, const std::vector<StagePlan>& plan) {
  fmt::print("{}: {} stage(s)\n", recipe.run.name, plan.size());
  print_roles(roles);
  for (const StagePlan& stage : plan) {
    fmt::print("\n{} ({})\n", stage.name, stage.type);
    fmt::print("    model        {}, {} parameters, {} used by a token\n", stage.family, readable_count(stage.parameters),
               readable_count(stage.activated_parameters));
    std::vector<std::string> parts;
    for (const auto& [name, bytes] : stage.memory.parts) parts.push_back(name + " " + readable_bytes(bytes));
    fmt::print("    memory       {} per rank: {}\n", readable_bytes(stage.memory.total()), join(parts));
    if (stage.step) print_step(*stage.step);
    if (stage.example) print_example(*stage.example);
  }
}

void print_stages(const PlanOptions& options, const pipeline::Recipe& recipe, int ranks, const comm::Communicator& world) {
  const std::vector<std::string> roles = roles::describe_ranks(hosts_of(ranks, world), static_cast<int>(recipe.cluster.rollout_ranks));
  const std::vector<StagePlan> stages = make_plan(recipe, ranks);
  if (options.as_json) {
    print_json(recipe, roles, stages);
  } else {
    print_text(recipe, roles, stages);
  }
}

/// The same on every rank, so that every rank finds the same errors; rank 0 speaks.
void print_cluster(const PlanOptions& options, const pipeline::Recipe& recipe, int ranks, bool speaks) {
  std::string text;
  try {
    text = cluster_output(options.cluster, recipe, ranks, options.as_json);
  } catch (const InputError& error) {
    throw SharedInputError(error.problems());
  }
  if (speaks) fmt::print("{}", text);
}

int plan(const PlanOptions& options, comm::Communicator& world) {
  const int ranks = options.ranks > 0 ? options.ranks : world.size();
  const pipeline::Recipe recipe = load_recipe(options.config, options.settings, ranks, world);
  if (options.cluster.wanted()) {
    print_cluster(options, recipe, ranks, world.rank() == 0);
  } else if (world.rank() == 0) {
    print_stages(options, recipe, ranks, world);
  }
  return kExitDone;
}

}  // namespace

void add_plan(CLI::App& program, Action& action) {
  auto options = std::make_shared<PlanOptions>();
  CLI::App* command =
      program.add_subcommand("plan", "Show what a recipe would do: roles, memory, tokens per step, an example with its reward");
  command->add_option("config", options->config, "the recipe, a YAML file")->required();
  command->add_option("settings", options->settings, "key.path=value, in place of what the file says");
  command->add_option("--ranks", options->ranks, "plan for so many ranks instead of those of this job")->check(CLI::Range(1, 1 << 20));
  command->add_flag("--json", options->as_json, "print JSON");
  add_cluster_options(*command, options->cluster);
  command->footer(
      "Memory is computed from shapes (launcher/memory_plan.h); activations are an estimate.\nExamples:\n"
      "  cohort plan configs/r1_mini.yaml --ranks 4\n"
      "  cohort plan configs/r1.yaml --ranks 512 --gpu-memory 80GB\n"
      "  cohort plan configs/r1.yaml --ranks 512 --gpu-memory 80GB --simulate --stage reasoning --mean-length 8000");
  command->callback([options, command, &action] {
    try {
      check_cluster_options(*command, options->cluster);
    } catch (const InputError& error) {
      throw SharedInputError(error.problems());
    }
    action = [options](comm::Communicator& world) { return plan(*options, world); };
  });
}

}  // namespace cohort::launcher
