#include "core/data/corpus.h"

#include "core/base/error.h"
#include "core/base/random.h"
#include "core/data/prompt.h"

namespace cohort::data {
namespace {

DataConfig general_data(const DataConfig& data, const PretrainMixture& mixture) {
  DataConfig general;
  general.tasks = mixture.general_tasks;
  general.languages = data.languages;
  general.split = data.split;
  return general;
}

/// The solution with its language held, changed, or changed on the way. Both items solve the same question in the same number of steps.
std::string mixed_solution(const TaskItem& own, const TaskItem& other, RandomStream& stream) {
  const size_t count = own.steps.size();
  const size_t change = count > 1 && stream.below(2) == 0 ? 1 + static_cast<size_t>(stream.below(count - 1)) : 0;
  std::string solution;
  for (size_t i = 0; i < count; ++i) solution += i < change ? own.steps[i] : other.steps[i];
  return solution;
}

}  // namespace

records::Demonstration demonstrate(const records::Question& question, const text::PromptTemplate& prompt_template,
                                   const text::Tokenizer& tokenizer, bool with_solution) {
  if (question.answer().empty())
    throw Fault("question " + std::to_string(question.id()) + " of " + question.source() + " has no answer to show");
  records::Demonstration demonstration;
  const std::vector<int32_t> prompt = render_prompt(question, prompt_template, tokenizer);
  const std::vector<int32_t> completion =
      text::render_completion(prompt_template, tokenizer, with_solution ? question.solution() : "", question.answer());
  demonstration.mutable_prompt_ids()->Add(prompt.begin(), prompt.end());
  demonstration.mutable_completion_ids()->Add(completion.begin(), completion.end());
  demonstration.set_question_id(question.id());
  demonstration.set_source(question.source());
  return demonstration;
}

PretrainCorpus::PretrainCorpus(const DataConfig& data, const PretrainMixture& mixture, const text::Tokenizer& tokenizer, uint64_t seed)
    : mixture_(mixture),
      tokenizer_(tokenizer),
      reasoning_questions_(data, seed),
      general_questions_(general_data(data, mixture), seed),
      seed_(seed) {
  if (data.from_files()) throw InputError("data.path: expected generated tasks for pretraining, found \"" + join(data.paths()) + "\"");
  if (mixture.templates.empty()) throw InputError("mixture.templates: expected at least one template, found none");
  for (const std::string& name : mixture.templates) templates_.push_back(&text::find_template(name));
}

records::Demonstration PretrainCorpus::at(uint64_t i) const {
  RandomStream stream(seed_, "pretrain", {i});
  const text::PromptTemplate& prompt_template = *templates_[stream.below(templates_.size())];
  const bool is_general = stream.uniform() < mixture_.general;
  const QuestionSet& questions = is_general ? general_questions_ : reasoning_questions_;

  records::Question question = questions.at(i);
  const Form form = draw_form(stream.uniform());
  const Completion completion = complete(questions, i, is_general, form, stream);
  question.set_solution(completion.think);
  question.set_answer(completion.answer);
  records::Demonstration demonstration = demonstrate(question, prompt_template, tokenizer_);
  if (form == Form::kNoTags) {
    const std::vector<int32_t> ids = tokenizer_.encode(completion.think + "\n" + completion.answer);
    demonstration.clear_completion_ids();
    demonstration.mutable_completion_ids()->Add(ids.begin(), ids.end());
    demonstration.add_completion_ids(tokenizer_.end_id());
  }
  return demonstration;
}

PretrainCorpus::Form PretrainCorpus::draw_form(double uniform) const {
  const double total = mixture_.careful + mixture_.sloppy + mixture_.direct + mixture_.no_format;
  double rest = uniform * total;
  if ((rest -= mixture_.careful) < 0.0) return Form::kCareful;
  if ((rest -= mixture_.sloppy) < 0.0) return Form::kSloppy;
  if ((rest -= mixture_.direct) < 0.0) return Form::kDirect;
  return Form::kNoTags;
}

double PretrainCorpus::draw_mistake_rate(bool is_general, Form form, RandomStream& stream) const {
  const double uniform = stream.uniform();
  if (is_general) return uniform < mixture_.general_right ? 0.0 : 1.0;
  if (form == Form::kCareful) return 0.0;
  if (form == Form::kDirect) return uniform < mixture_.direct_right ? 0.0 : 1.0;
  return mixture_.mistake_rate;
}

PretrainCorpus::Completion PretrainCorpus::complete(const QuestionSet& questions, uint64_t i, bool is_general, Form form,
                                                    RandomStream& stream) const {
  const Mistakes mistakes = {.rate = draw_mistake_rate(is_general, form, stream), .stream = RandomStream(seed_, "pretrain/mistakes", {i})};
  const TaskItem own = questions.item_at(i, {}, mistakes);
  Completion completion = {.think = own.question.solution(), .answer = own.question.answer()};
  if (form == Form::kDirect) {
    completion.think.clear();
  } else if (stream.uniform() < mixture_.mixed_language) {
    const TaskItem other = questions.item_at(i, own.question.language() == "en" ? "zh" : "en", mistakes);
    completion.think = mixed_solution(own, other, stream);
  }
  return completion;
}

}  // namespace cohort::data
