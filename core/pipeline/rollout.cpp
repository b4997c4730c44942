#include "core/pipeline/rollout.h"

#include <algorithm>
#include <charconv>
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
  generate::Generator(model, c.tokenizer, *s.rollout).generate_from(source, groups, {c.seed(), c.stage.name, step}, policy.version);
  deal->close();
  std::sort(groups.begin(), groups.end(), [](const auto& a, const auto& b) { return a.id() < b.id(); });
  for (records::Group& g : groups) {
    s.scorer->score(g);
    for (records::Sample& sample : *g.mutable_samples())
      sample.set_response_length(static_cast<uint32_t>(sample.response_ids_size())), sample.set_policy_step(policy.step);
  }
  return groups;
}

std::vector<records::Group> gather_summaries(Team& team, const std::vector<records::Group>& mine) {
  records::GroupList list;
  for (const records::Group& g : mine) *list.add_groups() = eval::summary_of(g);
  std::vector<records::Group> all;
  for (const std::string& bytes : team.gather(to_bytes(list))) {
    const auto part = from_bytes<records::GroupList>(bytes, "summaries");
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
  const nlohmann::ordered_json line = {{"step", g.step() + 1},  // steps count from 1, as in metrics.jsonl
                                       {"question_id", g.question().id()},
                                       {"sample", s.index()},
                                       {"prompt_ids", std::vector<int32_t>(g.prompt_ids().begin(), g.prompt_ids().end())},
                                       {"response_ids", response},
                                       {"logprobs", std::vector<float>(s.logprobs().begin(), s.logprobs().end())},
                                       {"policy_version", s.policy_version()},
                                       {"finish_reason", s.finish_reason() == records::STOP ? "stop" : "length"},
                                       {"reward", reward},
                                       {"question", text::replace_invalid(g.question().text())},
                                       {"response", text::replace_invalid(tokenizer.decode(response))},
                                       {"ground_truth", text::replace_invalid(g.question().ground_truth())}};
  return line.dump();
}

}  // namespace

std::vector<std::string> gather_sample_lines(Team& team, const StageContext& c, const std::vector<records::Group>& mine, int64_t limit) {
  std::string bytes;  // of each sample its group's id, a space and the line
  int64_t count = 0;
  for (const records::Group& g : mine)
    for (const records::Sample& s : g.samples())
      if (count++ < limit) bytes += std::to_string(g.id()) + " " + sample_line(g, s, c.tokenizer) + "\n";
  std::multimap<uint64_t, std::string> by_group;  // equal keys keep their order
  for (const std::string& part : team.gather(bytes))
    for (size_t from = 0; from < part.size();) {
      const size_t space = part.find(' ', from), end = part.find('\n', from);
      uint64_t id = 0;
      if (space > end || end == std::string::npos ||
          std::from_chars(part.data() + from, part.data() + space, id).ptr != part.data() + space)
        throw Fault("sample lines: a member sent something else");
      by_group.emplace(id, part.substr(space + 1, end - space - 1));
      from = end + 1;
    }
  std::vector<std::string> all;
  for (auto& [id, line] : by_group)
    if (static_cast<int64_t>(all.size()) < limit) all.push_back(std::move(line));
  return all;
}

records::RolloutBatch share_batch(Team& team, records::RolloutBatch mine, PolicyAge& published) {
  Team* rollouts = team.rollouts();
  if (rollouts == &team) return mine;  // all members have made the same
  records::Sample age;
  age.set_policy_version(published.version), age.set_policy_step(published.step);
  const bool sampled = rollouts != nullptr && rollouts->leads();
  const auto all = team.gather(sampled ? to_bytes(mine) : team.leads() ? to_bytes(age) : "");
  age = from_bytes<records::Sample>(all.front(), "published weights");
  published = {age.policy_version(), age.policy_step()};
  return from_bytes<records::RolloutBatch>(all.at(static_cast<size_t>(team.trainer_count())), "rollout batch");
}

}  // namespace cohort::pipeline
