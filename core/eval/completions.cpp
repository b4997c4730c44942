#include "core/eval/completions.h"

#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/data/data_files.h"
#include "core/data/row_reader.h"
#include "core/reward/verifier.h"
#include "core/text/utf8.h"

namespace cohort::eval {
namespace {

using nlohmann::json;

constexpr size_t kMaxRowBytes = 64 << 20;
constexpr size_t kMaxCompletions = 1 << 16;
constexpr size_t kProblemsShown = 20;

std::string_view final_part(std::string_view completion) {
  constexpr std::string_view kOpen = text::kAnswerOpen, kClose = text::kAnswerClose;
  const size_t close = completion.rfind(kClose);
  const size_t open = close == std::string_view::npos ? close : completion.substr(0, close).rfind(kOpen);
  if (open != std::string_view::npos) return text::trim(completion.substr(open + kOpen.size(), close - open - kOpen.size()));
  return text::trim(text::behind_thought(completion, false));
}

const json& completions_of(const json& row, const std::string& where) {
  const bool has_completions = row.contains("completions"), has_responses = row.contains("responses");
  if (has_completions == has_responses)
    throw InputError(where + ": expected completions or responses, found " + (has_completions ? "both" : "neither"));
  const char* key = has_completions ? "completions" : "responses";
  const json& list = row[key];
  if (!list.is_array() || list.empty() || list.size() > kMaxCompletions)
    throw InputError(where + ": " + key + ": expected a list of 1 to " + std::to_string(kMaxCompletions) + " strings, found " +
                     (list.is_array() ? std::to_string(list.size()) : std::string(list.type_name())));
  for (size_t i = 0; i < list.size(); ++i)
    if (!list[i].is_string())
      throw InputError(where + ": " + key + "[" + std::to_string(i) + "]: expected a string, found " + list[i].type_name());
  return list;
}

records::Sample sample_of(const records::Question& question, const std::string& completion, const text::PromptTemplate* prompt_template) {
  records::Sample sample;
  std::string answer(final_part(completion));
  if (prompt_template != nullptr) {
    const text::Parsed parsed = text::parse_completion(*prompt_template, completion);
    answer = parsed.answer;
    records::RewardComponent& format = *sample.add_rewards();
    format.set_name("format");
    format.set_value(parsed.well_formed ? 1.0 : 0.0);
  }
  sample.set_outcome(reward::verify(question, answer));
  sample.set_vote(reward::vote_of(question, answer));
  return sample;
}

QuestionScore score_row(const data::Row& row, data::RowFormat format, const text::PromptTemplate* prompt_template) {
  if (!row.problem.empty()) throw InputError(row.problem);
  records::Group group;
  *group.mutable_question() = data::question_of(row.value, format, row.where);
  if (group.question().verifier().empty()) throw InputError(row.where + ": expected an answer to compare with, found none");
  for (const json& completion : completions_of(row.value, row.where))
    *group.add_samples() = sample_of(group.question(), completion.get_ref<const std::string&>(), prompt_template);
  return score_of(group);
}

}  // namespace

std::vector<QuestionScore> score_completions(const std::string& path, data::RowFormat format, const text::PromptTemplate* prompt_template) {
  data::RowReader reader(data::find_data_files(path), kMaxRowBytes);
  std::vector<QuestionScore> scores;
  std::vector<std::string> problems;
  data::Row row;
  while (problems.size() < kProblemsShown && reader.next(row)) {
    try {
      scores.push_back(score_row(row, format, prompt_template));
      if (scores.back().samples != scores.front().samples)
        throw InputError(row.where + ": expected " + std::to_string(scores.front().samples) + " completions as in the first row, found " +
                         std::to_string(scores.back().samples));
    } catch (const InputError& error) {
      problems.push_back(error.problems().front());
    }
  }
  if (!problems.empty()) throw InputError(problems);
  if (scores.empty()) throw InputError(path + ": expected at least one row, found none");
  return scores;
}

}  // namespace cohort::eval
