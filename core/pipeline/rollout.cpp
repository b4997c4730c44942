#include "core/pipeline/rollout.h"

#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

#include "core/base/error.h"
#include "core/eval/evaluation.h"
#include "core/generate/generator.h"
#include "core/pipeline/wire.h"
#include "core/text/utf8.h"

namespace cohort::pipeline {

void ExpectedLengths::add(const records::Group& group) {
  Mean& mean = means_[group.question().source()];
  for (const records::Sample& s : group.samples()) mean.sum += s.response_length(), mean.count += 1.0;
}

double ExpectedLengths::of(const records::Group& group) const {
  const auto known = means_.find(group.question().source());
  return known == means_.end() || known->second.count == 0.0 ? 0.0 : known->second.sum / known->second.count;
}

namespace {

/// The groups of a round, longest expected first; among equals the longest prompt, then the lowest id.
std::vector<records::Group> in_dealing_order(std::vector<records::Group> groups, const ExpectedLengths* lengths) {
  std::vector<std::pair<std::tuple<double, int, uint64_t>, size_t>> order;
  for (size_t i = 0; i < groups.size(); ++i)
    order.push_back({{lengths ? -lengths->of(groups[i]) : 0.0, -groups[i].prompt_ids_size(), groups[i].id()}, i});
  std::sort(order.begin(), order.end());
  std::vector<records::Group> sorted;
  for (const auto& [key, i] : order) sorted.push_back(std::move(groups[i]));
  return sorted;
}

}  // namespace

std::vector<records::Group> roll_out(const StageContext& c, model::CausalLM& model, const RolloutSettings& s, uint64_t step,
                                     const std::vector<uint64_t>& ids, const PolicyAge& policy) {
  std::vector<records::Group> asked;  // every member's: who takes which is not known yet
  for (uint64_t id : ids) {
    auto one = eval::ask(*s.questions, static_cast<int64_t>(id), static_cast<int64_t>(id) + 1, 0, *s.prompt_template, c.tokenizer);
    one.front().set_step(step);
    asked.push_back(std::move(one.front()));
  }
  asked = in_dealing_order(std::move(asked), s.lengths);
  std::vector<uint64_t> order;
  std::map<uint64_t, records::Group*> by_id;
  generate::GroupSource source;
  for (records::Group& g : asked) {
    order.push_back(g.id());
    by_id[g.id()] = &g;
    source.longest_prompt = std::max<int64_t>(source.longest_prompt, g.prompt_ids_size());
  }
  const int64_t members = c.team.rollouts()->size();
  source.most_groups = (static_cast<int64_t>(ids.size()) + members - 1) / members;  // the cache of an equal share
  const std::unique_ptr<Deal> deal = c.team.deal(step, order);
  source.more = [&](int64_t count, std::vector<records::Group>& into) {
    for (uint64_t id : deal->take(static_cast<size_t>(count))) into.push_back(std::move(*by_id.at(id)));
  };
  std::vector<records::Group> groups;
  groups.reserve(ids.size());
  generate::Generator(model, c.tokenizer, *s.rollout).generate_from(source, groups, {c.seed(), c.stage.name, step}, policy);
  deal->close();
  std::sort(groups.begin(), groups.end(), [](const auto& a, const auto& b) { return a.id() < b.id(); });
  for (records::Group& g : groups) eval::score(g, *s.scorer);
  return groups;
}

std::vector<records::Group> roll_out_parts(const StageContext& c, model::CausalLM& model, const RolloutSettings& s, uint64_t step,
                                           const std::vector<uint64_t>& ids, const PartialBatch& batch, const PolicyAge& policy,
                                           int64_t most_new_tokens) {
  std::vector<records::Group> groups;
  for (uint64_t id : c.team.assign(step, ids)) {
    if (const records::Group* so_far = batch.so_far(id)) {
      groups.push_back(*so_far);
    } else {
      auto one = eval::ask(*s.questions, static_cast<int64_t>(id), static_cast<int64_t>(id) + 1, 0, *s.prompt_template, c.tokenizer);
      groups.push_back(std::move(one.front()));
      groups.back().set_asked_step(step);
    }
    groups.back().set_step(step);
  }
  generate::Generator(model, c.tokenizer, *s.rollout).advance(groups, {c.seed(), c.stage.name, step}, policy, most_new_tokens);
  for (records::Group& g : groups)
    if (is_done(g)) eval::score(g, *s.scorer);
  return groups;
}

std::vector<records::Group> gather_parts(Team& team, const std::vector<records::Group>& mine) {
  std::vector<records::Group> parts;
  for (const records::Group& g : mine) parts.push_back(is_done(g) ? eval::summary_of(g) : g);
  return gather_groups(team, parts);
}

std::vector<records::Group> gather_summaries(Team& team, const std::vector<records::Group>& mine) {
  std::vector<records::Group> summaries;
  for (const records::Group& g : mine) summaries.push_back(eval::summary_of(g));
  return gather_groups(team, summaries);
}

std::vector<records::Group> gather_groups(Team& team, const std::vector<records::Group>& mine) {
  records::GroupList list;
  for (const records::Group& g : mine) *list.add_groups() = g;
  std::vector<records::Group> all;
  for (const std::string& bytes : team.gather(to_bytes(list))) {
    const auto part = from_bytes<records::GroupList>(bytes, "groups of a round");
    all.insert(all.end(), part.groups().begin(), part.groups().end());
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.id() < b.id(); });
  return all;
}

namespace {

std::string sample_line(const records::Group& g, const records::Sample& s, const text::Tokenizer& tokenizer) {
  nlohmann::ordered_json reward;
  for (const auto& component : s.rewards()) reward[component.name()] = component.value();
  reward["total"] = s.total_reward();
  const std::vector<int32_t> response(s.response_ids().begin(), s.response_ids().end());
  nlohmann::ordered_json line = {{"step", g.step() + 1},  // steps count from 1, as in metrics.jsonl
                                 {"question_id", g.question().id()},
                                 {"sample", s.index()},
                                 {"prompt_ids", std::vector<int32_t>(g.prompt_ids().begin(), g.prompt_ids().end())},
                                 {"response_ids", response},
                                 {"logprobs", std::vector<float>(s.logprobs().begin(), s.logprobs().end())},
                                 {"policy_version", s.policy_version()},
                                 {"finish_reason", s.finish_reason() == records::STOP ? "stop" : "length"},
                                 {"reward", reward},
                                 {"question", text::replace_invalid(data::whole_text(g.question()))},
                                 {"response", text::replace_invalid(tokenizer.decode(response))},
                                 {"ground_truth", text::replace_invalid(g.question().ground_truth())}};
  if (s.runs_size() > 1)
    for (const records::VersionRun& run : s.runs()) line["policy_versions"].push_back({run.policy_version(), run.tokens()});
  return line.dump();
}

}  // namespace

std::vector<std::string> gather_sample_lines(Team& team, const StageContext& c, const std::vector<records::Group>& mine, int64_t limit) {
  records::SampleLines lines;
  for (const records::Group& g : mine)
    for (const records::Sample& s : g.samples())
      if (lines.lines_size() < limit) lines.add_group_ids(g.id()), lines.add_lines(sample_line(g, s, c.tokenizer));
  std::multimap<uint64_t, std::string> by_group;  // equal keys keep their order
  for (const std::string& bytes : team.gather(to_bytes(lines))) {
    auto theirs = from_bytes<records::SampleLines>(bytes, "sample lines");
    if (theirs.group_ids_size() != theirs.lines_size()) throw Fault("sample lines: a member sent lines of no group");
    for (int i = 0; i < theirs.lines_size(); ++i) by_group.emplace(theirs.group_ids(i), std::move(*theirs.mutable_lines(i)));
  }
  std::vector<std::string> all;
  for (auto& [id, line] : by_group)
    if (static_cast<int64_t>(all.size()) < limit) all.push_back(std::move(line));
  return all;
}

records::RolloutBatch share_batch(Team& team, records::RolloutBatch mine, std::vector<PolicyAge>& published) {
  Team* rollouts = team.rollouts();
  if (rollouts == &team) return mine;  // all members have made the same
  records::VersionRunList ages;
  for (const PolicyAge& age : published) *ages.add_runs() = generate::run_of(age);
  const bool sampled = rollouts != nullptr && rollouts->leads();
  const auto all = team.gather(sampled ? to_bytes(mine) : team.leads() ? to_bytes(ages) : "");
  ages = from_bytes<records::VersionRunList>(all.front(), "published weights");
  published.clear();
  for (const records::VersionRun& run : ages.runs()) published.push_back(generate::age_of(run));
  return from_bytes<records::RolloutBatch>(all.at(static_cast<size_t>(team.trainer_count())), "rollout batch");
}

}  // namespace cohort::pipeline
