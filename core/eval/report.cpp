#include "core/eval/report.h"

#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/base/error.h"
#include "core/eval/pass_at_k.h"
#include "core/reward/reward.h"

namespace cohort::eval {
namespace {

using nlohmann::ordered_json;
using Value = std::function<double(const QuestionScore&)>;

double component(const records::Sample& sample, const char* name) {
  const records::RewardComponent* found = reward::find_component(sample, name);
  return found == nullptr ? 0.0 : found->value();
}

ordered_json estimate(const std::vector<QuestionScore>& scores, uint64_t seed, const Value& value) {
  std::vector<double> values;
  for (const QuestionScore& score : scores) values.push_back(value(score));
  const Estimate e = bootstrap_mean(values, seed);
  return {{"mean", e.mean}, {"low", e.low}, {"high", e.high}};
}

/// pass@k for k = 1, 2, 4, … and n, and cons@n.
void add_accuracy(ordered_json& result, const std::vector<QuestionScore>& scores, uint64_t seed) {
  const int64_t n = scores.front().samples;
  std::vector<int64_t> ks;
  for (int64_t k = 1; k < n; k *= 2) ks.push_back(k);
  ks.push_back(n);
  for (const int64_t k : ks)
    result[fmt::format("pass@{}", k)] = estimate(scores, seed, [k](const QuestionScore& s) { return pass_at_k(s.samples, s.correct, k); });
  if (n > 1) result[fmt::format("cons@{}", n)] = estimate(scores, seed, [](const QuestionScore& s) { return s.majority_correct ? 1.0 : 0.0; });
}

void add_sources(ordered_json& result, const std::vector<QuestionScore>& scores, uint64_t seed) {
  std::map<std::string, std::vector<QuestionScore>> by_source;
  for (const QuestionScore& score : scores) by_source[score.source].push_back(score);
  if (by_source.size() < 2) return;
  for (const auto& [source, part] : by_source) {
    ordered_json entry = {{"questions", part.size()}};
    add_accuracy(entry, part, seed);
    result["sources"][source] = std::move(entry);
  }
}

}  // namespace

QuestionScore score_of(const records::Group& group) {
  QuestionScore score;
  score.source = group.question().source();
  std::vector<std::string> votes;
  for (const records::Sample& sample : group.samples()) {
    ++score.samples;
    score.correct += sample.outcome() == records::CORRECT ? 1 : 0;
    score.undecided += sample.outcome() == records::UNDECIDED ? 1 : 0;
    score.format += component(sample, "format");
    score.language += component(sample, "language");
    score.tokens += sample.response_length();
    votes.push_back(sample.vote());
  }
  const std::optional<size_t> winner = majority_vote(votes);
  score.majority_correct = winner && group.samples(static_cast<int>(*winner)).outcome() == records::CORRECT;
  return score;
}

ordered_json report(const std::vector<QuestionScore>& scores, uint64_t seed, const ReportParts& parts) {
  if (scores.empty() || scores.front().samples < 1) throw Fault("a report needs questions with answers");
  const int64_t n = scores.front().samples;
  if (std::any_of(scores.begin(), scores.end(), [n](const QuestionScore& s) { return s.samples != n; }))
    throw Fault("a report needs the same number of answers to every question");
  ordered_json result = {{"questions", scores.size()}, {"samples_per_question", n}};
  add_accuracy(result, scores, seed);
  const auto per_sample = [](double QuestionScore::*sum) {
    return [sum](const QuestionScore& s) { return s.*sum / static_cast<double>(s.samples); };
  };
  if (parts.format) result["format"] = estimate(scores, seed, per_sample(&QuestionScore::format));
  if (parts.language) result["language"] = estimate(scores, seed, per_sample(&QuestionScore::language));
  if (parts.response_length) result["response_length"] = estimate(scores, seed, per_sample(&QuestionScore::tokens));
  int64_t undecided = 0;
  for (const QuestionScore& score : scores) undecided += score.undecided;
  result["undecided"] = undecided;
  add_sources(result, scores, seed);
  return result;
}

std::vector<records::SourceAccuracy> accuracy_by_source(const std::vector<records::Group>& groups) {
  struct Sums {
    uint64_t questions = 0;
    double mean = 0.0, best = 0.0, maj = 0.0;
  };
  std::map<std::string, Sums> by_source;
  for (const records::Group& group : groups) {
    if (group.question().category() != records::REASONING || group.question().verifier().empty() || group.samples_size() == 0) continue;
    const QuestionScore score = score_of(group);
    Sums& sums = by_source[score.source];
    ++sums.questions;
    sums.mean += static_cast<double>(score.correct) / static_cast<double>(score.samples);
    sums.best += score.correct > 0 ? 1.0 : 0.0;
    sums.maj += score.majority_correct ? 1.0 : 0.0;
  }
  std::vector<records::SourceAccuracy> result;
  for (const auto& [source, sums] : by_source) {
    const auto questions = static_cast<double>(sums.questions);
    records::SourceAccuracy& accuracy = result.emplace_back();
    accuracy.set_source(source);
    accuracy.set_questions(sums.questions);
    accuracy.set_mean(sums.mean / questions), accuracy.set_best(sums.best / questions), accuracy.set_maj(sums.maj / questions);
  }
  return result;
}

}  // namespace cohort::eval
