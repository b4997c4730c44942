#include "core/pipeline/stage_context.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/text_util.h"
#include "core/data/prompt.h"
#include "core/eval/evaluation.h"
#include "core/model/weights_io.h"
#include "core/pipeline/rollout.h"

namespace cohort::pipeline {

std::unique_ptr<model::CausalLM> StageContext::model_of(const std::string& stage_name, model::Head head) const {
  auto model = model::load_model(stage_folder(stage_name) + "/model", compute_type(), head);
  model->set_missing_tokens(tokenizer.missing_ids());
  return model;
}

std::unique_ptr<model::CausalLM> StageContext::start_model(const std::string& from, const std::string& preset) const {
  const std::string folder = !from.empty() ? stage_folder(from) + "/model" : preset.empty() ? recipe.model.path : "";
  std::unique_ptr<model::CausalLM> model =
      folder.empty() ? new_model(preset) : model::load_model(folder, compute_type(), model::Head::kLanguageModel, parameter_sharding());
  model->set_missing_tokens(tokenizer.missing_ids());
  return model;
}

std::unique_ptr<model::CausalLM> StageContext::new_model(const std::string& preset) const {
  model::Architecture a = model::architecture_preset(preset.empty() ? recipe.model.preset : preset);
  if (a.vocab_size == 0) a.vocab_size = tokenizer.vocabulary_size();
  return std::make_unique<model::CausalLM>(a, seed(), compute_type());
}

model::ParameterSharding* StageContext::parameter_sharding() const {
  Team* trainers = team.trainers();
  return trainers && recipe.trainer.parameter_sharding == "full" ? trainers->parameter_sharding() : nullptr;
}

int64_t StageContext::vocab_limit(const model::CausalLM& model) const {
  return std::min<int64_t>(tokenizer.vocabulary_size(), model.architecture().vocab_size);
}

data::QuestionSet StageContext::questions(const data::DataConfig& data, const text::PromptTemplate& prompt_template,
                                          uint64_t seed_offset) const {
  data::QuestionSet questions(data, seed() + seed_offset, data::prompt_length(prompt_template, tokenizer));
  if (team.leads() && data.from_files()) {
    log_info("{}: {} questions of {}; {} left out as too long, {} as bad rows", stage.name, questions.rows(), join(data.paths()),
             questions.long_rows(), questions.bad_rows());
    for (const std::string& problem : questions.problems()) log_warn("{}: left out: {}", stage.name, problem);
  }
  return questions;
}

namespace {

/// My share of one held-out set, answered and scored; then everybody's, without token ids.
std::vector<records::Group> answered_by_team(const StageContext& c, model::CausalLM& model, const text::PromptTemplate& prompt_template,
                                             const data::DataConfig& data, int64_t count, const char* purpose,
                                             const reward::Scorer& scorer) {
  const data::QuestionSet questions(data, c.seed(), data::prompt_length(prompt_template, c.tokenizer));
  const uint64_t there_are = data.from_files() ? questions.positions_without_repeat() : questions.size();
  if (there_are > 0) count = std::min(count, static_cast<int64_t>(there_are));  // no question twice
  const int64_t begin = count * c.team.index() / c.team.size(), end = count * (c.team.index() + 1) / c.team.size();
  auto mine = eval::ask(questions, begin, end, 0, prompt_template, c.tokenizer);
  const auto in_use = model.use_all();
  eval::answer(mine, model, c.tokenizer, c.recipe.eval.rollout, scorer, {c.seed(), purpose, 0}, {});
  eval::add_votes(mine, prompt_template, c.tokenizer);
  return gather_summaries(c.team, mine);
}

}  // namespace

records::EvalResult evaluate(const StageContext& c, model::CausalLM& model, const text::PromptConfig& prompt,
                             const data::DataConfig& fallback, const reward::Preference& preference) {
  const EvalSection& e = c.recipe.eval;
  const text::PromptTemplate prompt_template = text::make_prompt_template(prompt, c.tokenizer);
  reward::RewardConfig weights;
  weights.preference = preference ? 1.0 : 0.0;
  const reward::Scorer scorer(weights, prompt_template, c.tokenizer, e.rollout.max_response_length, preference);
  data::DataConfig reasoning = e.data.given() ? e.data : fallback;
  if (!reasoning.from_files()) reasoning.split = "test";
  auto groups = answered_by_team(c, model, prompt_template, reasoning, e.questions, "eval", scorer);
  if (e.general.given() && e.general_questions > 0) {
    auto general = answered_by_team(c, model, prompt_template, e.general, e.general_questions, "eval/general", scorer);
    groups.insert(groups.end(), general.begin(), general.end());
  }
  return eval::summarise(groups);
}

void add_validation_metrics(const records::EvalResult& e, int64_t answers_per_question, Metrics& m) {
  const std::string mean = "/mean@" + std::to_string(answers_per_question);
  if (e.has_accuracy()) m["val-core/reasoning/accuracy" + mean] = e.accuracy();
  if (e.has_format()) m["val-core/all/format" + mean] = e.format();
  if (e.has_language()) m["val-core/all/language" + mean] = e.language();
  for (const records::SourceAccuracy& source : e.sources()) {
    const std::string name = "val-core/" + printable(source.source()) + "/acc/";
    const std::string n = "@" + std::to_string(answers_per_question);
    m[name + "mean" + n] = source.mean();
    if (answers_per_question > 1) m[name + "best" + n + "/mean"] = source.best(), m[name + "maj" + n + "/mean"] = source.maj();
  }
}

}  // namespace cohort::pipeline
