#include "core/pipeline/rl_batch.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/base/error.h"
#include "core/pipeline/partial_batch.h"

namespace cohort::pipeline {

TrainGroup to_train_group(const records::Group& group) {
  TrainGroup out;
  for (const records::Sample& s : group.samples()) {
    TrainSample t;
    t.tokens.prompt = {group.prompt_ids().begin(), group.prompt_ids().end()};
    t.tokens.completion = {s.response_ids().begin(), s.response_ids().end()};
    t.rollout_logprob = {s.logprobs().begin(), s.logprobs().end()};
    t.truncated = s.finish_reason() == records::LENGTH;
    out.push_back(std::move(t));
  }
  return out;
}

namespace {

template <class T>
at::Tensor joined(const std::vector<const TrainSample*>& samples, std::vector<T> TrainSample::*member, at::ScalarType type) {
  std::vector<T> all;
  for (const auto* s : samples) all.insert(all.end(), (s->*member).begin(), (s->*member).end());
  return all.empty() ? at::Tensor() : at::tensor(all, at::TensorOptions().dtype(type));
}

}  // namespace

PackedSamples pack_samples(const std::vector<const TrainSample*>& samples) {
  PackedSamples p;
  std::vector<int64_t> lengths;
  std::vector<uint8_t> truncated;
  for (const auto* s : samples) {
    p.tokens.push_back(s->tokens);
    lengths.push_back(static_cast<int64_t>(s->tokens.completion.size()));
    truncated.push_back(s->truncated ? 1 : 0);
  }
  p.packing = rl::Packing::from_lengths(lengths);
  p.rollout_logprob_N = joined(samples, &TrainSample::rollout_logprob, at::kFloat);
  p.old_logprob_N = joined(samples, &TrainSample::old_logprob, at::kFloat);
  p.ref_logprob_N = joined(samples, &TrainSample::ref_logprob, at::kFloat);
  p.advantage_N = joined(samples, &TrainSample::advantage, at::kFloat);
  p.truncated_B = at::tensor(truncated, at::kByte).to(at::kBool);
  return p;
}

RlLoss rl_loss(const RlStage& stage, model::CausalLM& policy, const PackedSamples& p, int64_t vocab_limit,
               const rl::AggregationScale& scale, model::MoeTrace* trace) {
  const rl::AlgorithmConfig& algorithm = stage.algorithm;
  const auto out = model::completion_logprobs(policy, p.tokens, stage.rollout.temperature, vocab_limit, trace);
  // With one update per rollout the old policy is the current one, and this forward pass gives both.
  const at::Tensor old = p.old_logprob_N.defined() ? p.old_logprob_N : out.logprob_N.detach();
  const rl::LossInputs inputs{
      p.packing,       out.logprob_N, old,           p.rollout_logprob_N,
      p.ref_logprob_N, out.entropy_N, p.advantage_N, rl::trained_tokens(algorithm, old, p.rollout_logprob_N, p.truncated_B, p.packing)};
  const rl::LossResult result = rl::grpo_loss(algorithm, inputs, scale);
  return {result.loss, result.metrics, out.logprob_N.detach()};
}

namespace {

struct Spread {
  double sum = 0.0, squares = 0.0, low = 0.0, high = 0.0;
  int64_t count = 0;
  void add(double x) {
    low = count == 0 ? x : std::min(low, x), high = count == 0 ? x : std::max(high, x);
    sum += x, squares += x * x, ++count;
  }
  double mean() const { return count == 0 ? 0.0 : sum / static_cast<double>(count); }
  double std() const {
    if (count < 2) return 0.0;
    const double n = static_cast<double>(count);
    return std::sqrt(std::max(0.0, (squares - sum * sum / n) / (n - 1.0)));
  }
};

}  // namespace

void add_reward_metrics(const std::vector<records::Group>& summaries, Metrics& m) {
  Spread total, length;
  std::map<std::string, Spread> components;
  double truncated = 0.0, undecided = 0.0, verified = 0.0, flat = 0.0;
  for (const records::Group& g : summaries) {
    Spread group;
    for (const records::Sample& s : g.samples()) {
      total.add(s.total_reward()), group.add(s.total_reward()), length.add(s.response_length());
      for (const auto& c : s.rewards()) components[c.name()].add(c.value());
      truncated += s.finish_reason() == records::LENGTH ? 1.0 : 0.0;
      undecided += s.outcome() == records::UNDECIDED ? 1.0 : 0.0;
      verified += s.outcome() == records::OUTCOME_UNSPECIFIED ? 0.0 : 1.0;
    }
    flat += group.high - group.low <= 1e-8 ? 1.0 : 0.0;
  }
  const double samples = static_cast<double>(std::max<int64_t>(1, total.count));
  m["reward/mean"] = total.mean(), m["reward/std"] = total.std();
  for (const auto& [name, spread] : components) m["reward/" + name + "/mean"] = spread.mean();
  m["reward/frac_zero_std"] = flat / static_cast<double>(std::max<size_t>(1, summaries.size()));
  m["critic/score/mean"] = total.mean(), m["critic/score/max"] = total.high, m["critic/score/min"] = total.low;
  m["response_length/mean"] = length.mean(), m["response_length/max"] = length.high, m["response_length/min"] = length.low;
  m["response_length/clip_ratio"] = truncated / samples;
  m["verifier/undecided_frac"] = verified > 0.0 ? undecided / verified : 0.0;
}

namespace {
/// RL steps between the weights that sampled and the step that trains. Weights of the future are a Fault.
uint64_t staleness(const records::Group& g, uint64_t policy_step, uint64_t step) {
  if (policy_step > step) throw Fault(fmt::format("step {}: group {} was sampled by weights of step {}", step, g.id(), policy_step));
  return step - policy_step;
}
}  // namespace

int64_t drop_stale(std::vector<records::Group>& summaries, uint64_t step, uint64_t max_staleness) {
  return static_cast<int64_t>(std::erase_if(summaries, [&](const records::Group& g) {
    return std::any_of(g.samples().begin(), g.samples().end(),
                       [&](const auto& s) { return staleness(g, s.policy_step(), step) > max_staleness; });
  }));
}

void require_restored(const records::Group& g, const RestoredLimits& limits) {
  const auto require = [&](bool good, const std::string& problem) {
    if (!good) throw Fault(fmt::format("group {}: {}", g.id(), problem));
  };
  const auto known = [&](const auto& ids) {
    return std::all_of(ids.begin(), ids.end(), [&](int32_t id) { return id >= 0 && id < limits.vocabulary; });
  };
  generate::require_version_runs(g);
  const int64_t longest_prompt = limits.positions - limits.max_response_length;
  require(g.prompt_ids_size() >= 1 && g.prompt_ids_size() <= longest_prompt,
          fmt::format("expected a prompt of 1 to {} tokens, found {}", longest_prompt, g.prompt_ids_size()));
  require(known(g.prompt_ids()), fmt::format("prompt: expected token ids from 0 to {}", limits.vocabulary - 1));
  require(g.samples_size() <= limits.answers, fmt::format("expected at most {} answers, found {}", limits.answers, g.samples_size()));
  const bool done = is_done(g);
  std::set<uint32_t> indices;
  for (const records::Sample& s : g.samples()) {
    const auto tokens = s.response_ids_size();
    require(s.index() < limits.answers && indices.insert(s.index()).second,
            fmt::format("expected answers with numbers of their own below {}, found {}", limits.answers, s.index()));
    require(tokens <= limits.max_response_length,
            fmt::format("sample {}: expected at most {} tokens, found {}", s.index(), limits.max_response_length, tokens));
    require(s.logprobs_size() == tokens,
            fmt::format("sample {}: expected {} log-probabilities, found {}", s.index(), tokens, s.logprobs_size()));
    require(s.response_length() == static_cast<uint32_t>(done ? tokens : 0),
            fmt::format("sample {}: {} tokens, said to be {}", s.index(), tokens, s.response_length()));
    require(known(s.response_ids()), fmt::format("sample {}: expected token ids from 0 to {}", s.index(), limits.vocabulary - 1));
  }
}

int64_t reject_other_weights(records::RolloutBatch& batch, const std::vector<PolicyAge>& published) {
  std::set<uint64_t> bad;
  const auto is_published = [&](const records::VersionRun& run) {
    return std::find(published.begin(), published.end(), generate::age_of(run)) != published.end();
  };
  for (const records::Group& g : batch.asked()) {
    generate::require_version_runs(g);
    for (const records::Sample& s : g.samples())
      if (!std::all_of(s.runs().begin(), s.runs().end(), is_published)) bad.insert(g.id());
  }
  auto* chosen = batch.mutable_chosen();
  const auto kept = std::remove_if(chosen->begin(), chosen->end(), [&](uint64_t id) { return bad.count(id) > 0; });
  const auto rejected = static_cast<int64_t>(chosen->end() - kept);
  chosen->erase(kept, chosen->end());
  return rejected;
}

void add_partial_metrics(const records::RolloutBatch& batch, const std::vector<records::Group>& summaries, Metrics& m) {
  double answers = 0.0, partial = 0.0;
  for (const records::Group& g : summaries)
    for (const records::Sample& s : g.samples()) answers += 1.0, partial += s.runs_size() > 1 ? 1.0 : 0.0;
  m["rollout/carried_groups"] = static_cast<double>(batch.carried_groups());
  m["rollout/new_questions"] = static_cast<double>(batch.new_questions());
  m["rollout/partial_fraction"] = answers > 0.0 ? partial / answers : 0.0;
}

void add_staleness_metrics(const std::vector<records::Group>& summaries, uint64_t step, int64_t dropped, Metrics& m) {
  double sum = 0.0, tokens = 0.0, most = 0.0;
  for (const records::Group& g : summaries)
    for (const records::Sample& s : g.samples())
      for (const records::VersionRun& run : s.runs()) {
        const auto age = static_cast<double>(staleness(g, run.policy_step(), step));
        sum += age * run.tokens(), tokens += run.tokens(), most = std::max(most, age);
      }
  m["staleness/mean"] = tokens > 0.0 ? sum / tokens : 0.0, m["staleness/max"] = most;
  m["staleness/dropped_groups"] = static_cast<double>(dropped);
}

}  // namespace cohort::pipeline
