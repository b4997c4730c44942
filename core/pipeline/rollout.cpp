#include "core/pipeline/rollout.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/eval/evaluation.h"
#include "core/pipeline/wire.h"
#include "core/text/utf8.h"

namespace cohort::pipeline {

std::vector<records::Group> roll_out(const StageContext& c, model::CausalLM& model, const RolloutSettings& s, uint64_t step,
                                     const std::vector<uint64_t>& ids, const PolicyAge& policy) {
  std::vector<records::Group> groups;
  for (uint64_t id : c.team.assign(step, ids)) {
    auto one = eval::ask(*s.questions, static_cast<int64_t>(id), static_cast<int64_t>(id) + 1, 0, *s.prompt_template, c.tokenizer);
    one.front().set_step(step);
    groups.push_back(std::move(one.front()));
  }
  const auto in_use = model.use_all();
  eval::answer(groups, model, c.tokenizer, *s.rollout, *s.scorer, {c.seed(), c.stage.name, step}, policy.version);
  for (records::Group& g : groups)
    for (records::Sample& sample : *g.mutable_samples()) sample.set_policy_step(policy.step);
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
  std::string bytes;
  int64_t count = 0;
  for (const records::Group& g : mine)
    for (const records::Sample& s : g.samples())
      if (count++ < limit) bytes += sample_line(g, s, c.tokenizer) + "\n";
  std::vector<std::string> lines;
  // The coordinator deals contiguous shares of ascending ids, so members' lines in member order are ordered.
  for (const std::string& part : team.gather(bytes))
    for (size_t from = 0; from < part.size() && static_cast<int64_t>(lines.size()) < limit;) {
      const size_t end = part.find('\n', from);
      lines.push_back(part.substr(from, end - from));
      from = end + 1;
    }
  return lines;
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
