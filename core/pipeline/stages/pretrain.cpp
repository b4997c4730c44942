// Pretraining of a tiny base model on the noisy corpus (core/data/corpus.h).
#include "core/pipeline/stages/stages.h"
#include "core/pipeline/supervised.h"

namespace cohort::pipeline {

StageOutput run_pretrain(const StageContext& c, const PretrainStage& stage) {
  StageOutput out;
  out.model = c.start_model(stage.from, stage.model);
  out.prompt.name = stage.eval_template;
  const data::PretrainCorpus corpus(stage.data, stage.mixture, c.tokenizer, c.seed());
  TrainingSession session(c, *out.model, nullptr, stage.optim, stage.steps, stage.steps);
  Learner learner(*out.model, session.optimizer(), c.team, c.recipe.trainer.reduction_slots, stage.router_bias_update_rate,
                  stage.aux_loss_coeff);
  session.begin();
  train_on_demonstrations(c, *out.model, session, learner, stage.batch_size, [&](int64_t step, int64_t begin, int64_t end) {
    std::vector<records::Demonstration> documents;
    for (int64_t i = begin; i < end; ++i) documents.push_back(corpus.at(static_cast<uint64_t>(step * stage.batch_size + i)));
    return documents;
  });
  c.team.publish(*out.model, static_cast<uint64_t>(session.optimizer().steps()));
  *out.result.mutable_eval() = evaluate(c, *out.model, stage.eval_template, stage.data);
  session.describe(out.result);
  return out;
}

}  // namespace cohort::pipeline
