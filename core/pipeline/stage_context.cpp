#include "core/pipeline/stage_context.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/eval/evaluation.h"
#include "core/model/weights_io.h"
#include "core/pipeline/rollout.h"

namespace cohort::pipeline {

std::unique_ptr<model::CausalLM> StageContext::model_of(const std::string& stage_name, model::Head head) const {
  return model::load_model(stage_folder(stage_name) + "/model", compute_type(), head);
}

std::unique_ptr<model::CausalLM> StageContext::start_model(const std::string& from, const std::string& preset) const {
  const std::string folder = !from.empty() ? stage_folder(from) + "/model" : preset.empty() ? recipe.model.path : "";
  if (!folder.empty()) return model::load_model(folder, compute_type(), model::Head::kLanguageModel, parameter_sharding());
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

namespace {

/// My share of one held-out set, answered and scored; then everybody's, without token ids.
std::vector<records::Group> answered_by_team(const StageContext& c, model::CausalLM& model, const text::PromptTemplate& prompt_template,
                                             const data::DataConfig& data, int64_t count, const char* purpose,
                                             const reward::Scorer& scorer) {
  const data::QuestionSet questions(data, c.seed());
  if (questions.size() > 0) count = std::min(count, static_cast<int64_t>(questions.size()));  // no question twice
  const int64_t begin = count * c.team.index() / c.team.size(), end = count * (c.team.index() + 1) / c.team.size();
  auto mine = eval::ask(questions, begin, end, 0, prompt_template, c.tokenizer);
  const auto in_use = model.use_all();
  eval::answer(mine, model, c.tokenizer, c.recipe.eval.rollout, scorer, {c.seed(), purpose, 0}, {});
  return gather_summaries(c.team, mine);
}

}  // namespace

records::EvalResult evaluate(const StageContext& c, model::CausalLM& model, const std::string& template_name,
                             const data::DataConfig& fallback, const reward::Preference& preference) {
  const EvalSection& e = c.recipe.eval;
  const text::PromptTemplate& prompt_template = text::find_template(template_name);
  reward::RewardConfig weights;
  weights.preference = preference ? 1.0 : 0.0;
  const reward::Scorer scorer(weights, prompt_template, c.tokenizer, e.rollout.max_response_length, preference);
  data::DataConfig reasoning = e.data.tasks.empty() && e.data.path.empty() ? fallback : e.data;
  if (reasoning.path.empty()) reasoning.split = "test";
  auto groups = answered_by_team(c, model, prompt_template, reasoning, e.questions, "eval", scorer);
  if ((!e.general.tasks.empty() || !e.general.path.empty()) && e.general_questions > 0) {
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
}

}  // namespace cohort::pipeline
