#include "core/eval/evaluation.h"

#include <algorithm>
#include <functional>
#include <map>
#include <span>
#include <string>

#include "core/data/prompt.h"
#include "core/eval/report.h"
#include "core/reward/verifier.h"
#include "core/text/utf8.h"

namespace cohort::eval {

std::vector<records::Group> ask(const data::QuestionSet& questions, int64_t begin, int64_t end, uint64_t first_id,
                                const text::PromptTemplate& prompt_template, const text::Tokenizer& tokenizer) {
  std::vector<records::Group> groups;
  for (int64_t i = begin; i < end; ++i) {
    records::Group g;
    g.set_id(first_id + static_cast<uint64_t>(i));
    *g.mutable_question() = questions.at(static_cast<uint64_t>(i));
    for (int32_t id : data::render_prompt(g.question(), prompt_template, tokenizer)) g.add_prompt_ids(id);
    groups.push_back(std::move(g));
  }
  return groups;
}

void answer(std::vector<records::Group>& groups, model::CausalLM& model, const text::Tokenizer& tokenizer,
            const generate::RolloutConfig& rollout, const reward::Scorer& scorer, const generate::SampleKey& key,
            const generate::PolicyAge& policy) {
  generate::Generator(model, tokenizer, rollout).generate(groups, key, policy);
  for (records::Group& g : groups) score(g, scorer);
}

void score(records::Group& group, const reward::Scorer& scorer) {
  scorer.score(group);
  for (records::Sample& s : *group.mutable_samples()) s.set_response_length(static_cast<uint32_t>(s.response_ids_size()));
}

void add_votes(std::vector<records::Group>& groups, const text::PromptTemplate& prompt_template, const text::Tokenizer& tokenizer) {
  for (records::Group& group : groups) {
    for (records::Sample& sample : *group.mutable_samples()) {
      const std::span<const int32_t> ids(sample.response_ids().data(), static_cast<size_t>(sample.response_ids_size()));
      // What a model of bytes writes need not be UTF-8, and a text of a record must be.
      sample.set_vote(
          text::replace_invalid(reward::vote_of(group.question(), text::parse_completion(prompt_template, tokenizer, ids).answer)));
    }
  }
}

records::Group summary_of(const records::Group& group) {
  records::Group summary = group;
  summary.clear_prompt_ids();
  for (records::Sample& s : *summary.mutable_samples()) s.clear_response_ids(), s.clear_logprobs();
  return summary;
}

namespace {
bool is_reasoning(const records::Group& g) { return g.question().category() == records::REASONING; }
}  // namespace

records::EvalResult summarise(const std::vector<records::Group>& groups) {
  struct Mean {
    double sum = 0.0;
    uint64_t count = 0;
  };
  std::map<std::string, Mean> means;
  records::EvalResult result;
  result.set_questions(groups.size());
  const bool reasoning = std::any_of(groups.begin(), groups.end(), is_reasoning);
  for (const records::Group& g : groups)
    for (const records::Sample& s : g.samples()) {
      const bool shape_counts = !reasoning || is_reasoning(g);
      for (const records::RewardComponent& c : s.rewards())
        if (shape_counts || (c.name() != "format" && c.name() != "language")) means[c.name()].sum += c.value(), ++means[c.name()].count;
      if (shape_counts) means["length"].sum += s.response_length(), ++means["length"].count;
      result.set_samples(result.samples() + 1);
      if (s.outcome() == records::UNDECIDED) result.set_undecided(result.undecided() + 1);
    }
  const auto put = [&](const char* name, const std::function<void(double)>& set) {
    if (const auto m = means.find(name); m != means.end()) set(m->second.sum / static_cast<double>(m->second.count));
  };
  put("accuracy", [&](double x) { result.set_accuracy(x); });
  put("format", [&](double x) { result.set_format(x); });
  put("language", [&](double x) { result.set_language(x); });
  put("preference", [&](double x) { result.set_preference(x); });
  put("helpfulness", [&](double x) { result.set_helpfulness(x); });
  put("safety", [&](double x) { result.set_safety(x); });
  put("length", [&](double x) { result.set_response_length(x); });
  for (records::SourceAccuracy& source : accuracy_by_source(groups)) *result.add_sources() = std::move(source);
  return result;
}

}  // namespace cohort::eval
