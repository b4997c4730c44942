#pragma once
/// What a stage is given: the recipe, its own section, the team, the tokenizer, and where things lie in the run folder.
///
///   OUTPUT/metrics.jsonl, samples/STAGE.jsonl, checkpoints/STAGE/step_N/, stages/STAGE/{result.json, model/, traces.jsonl}, summary.json

#include <memory>
#include <string>
#include <vector>

#include "core/base/metrics.h"
#include "core/model/causal_lm.h"
#include "core/pipeline/recipe.h"
#include "core/pipeline/team.h"
#include "core/records/records.pb.h"
#include "core/reward/reward.h"
#include "core/text/tokenizer.h"

namespace cohort::pipeline {

struct StageContext {
  const Recipe& recipe;
  const StageConfig& stage;
  const std::string hash;
  Team& team;
  const text::Tokenizer& tokenizer;

  uint64_t seed() const { return static_cast<uint64_t>(recipe.run.seed); }
  std::string output(const std::string& relative) const { return recipe.run.output + "/" + relative; }
  std::string stage_folder(const std::string& name) const { return output("stages/" + name); }
  std::string checkpoint_folder() const { return output("checkpoints/" + stage.name); }

  /// The model a stage starts from: that of stage `from`, or model.path, or random weights of `preset` (empty: model.preset). Where
  /// parameters are divided over the members that train, such a member reads its slice of a folder alone, and the model is sharded then.
  std::unique_ptr<model::CausalLM> start_model(const std::string& from, const std::string& preset) const;
  /// The finished model of another stage, all of it.
  std::unique_ptr<model::CausalLM> model_of(const std::string& stage_name, model::Head head = model::Head::kLanguageModel) const;
  /// Through which this member divides its models' parameters with others; null: it does not.
  model::ParameterSharding* parameter_sharding() const;
  model::ComputeType compute_type() const {
    return recipe.model.dtype == "bf16" ? model::ComputeType::kBFloat16 : model::ComputeType::kFloat32;
  }
  /// The questions of a section of this stage, asked with a template; says in the log what of files was left out. InputError as of
  /// QuestionSet.
  data::QuestionSet questions(const data::DataConfig& data, const text::PromptTemplate& prompt_template, uint64_t seed_offset = 0) const;
  /// Steps between evaluations: the stage's own test_freq, or the recipe's where that is -1. 0: none.
  int64_t test_freq(int64_t own) const { return own >= 0 ? own : recipe.eval.test_freq; }
  /// Tokens below which all exist that do: the sampler and the log-probabilities never see more.
  int64_t vocab_limit(const model::CausalLM& model) const;

 private:
  std::unique_ptr<model::CausalLM> new_model(const std::string& preset) const;
};

/// What a stage leaves behind. The pipeline commits it.
struct StageOutput {
  std::unique_ptr<model::CausalLM> model;  ///< null: the stage makes traces
  text::PromptConfig prompt;               ///< of the model
  std::vector<records::Trace> traces;
  records::StageResult result;  ///< steps, tokens, seconds, eval, eval_start
};

/// Evaluates on the recipe's held-out sets; collective. `fallback` are the reasoning questions where eval.data names none.
records::EvalResult evaluate(const StageContext& context, model::CausalLM& model, const text::PromptConfig& prompt,
                             const data::DataConfig& fallback, const reward::Preference& preference = {});

/// An evaluation in the middle of a stage, under verl's names: val-core/reasoning/accuracy/mean@n, …, and for each source of questions
/// val-core/SOURCE/acc/mean@n, with n > 1 also best@n/mean (a correct answer among n) and maj@n/mean (the most frequent one correct).
void add_validation_metrics(const records::EvalResult& result, int64_t answers_per_question, Metrics& metrics);

}  // namespace cohort::pipeline
