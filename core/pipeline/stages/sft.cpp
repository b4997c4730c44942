// Supervised fine-tuning on traces of other stages and on demonstrations; distillation when the model is another one.
#include <cmath>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/random.h"
#include "core/data/prompt.h"
#include "core/pipeline/stages/stages.h"
#include "core/pipeline/supervised.h"
#include "core/pipeline/trace_file.h"

namespace cohort::pipeline {
namespace {

/// Everything that is learned, in a fixed order, as token ids.
std::vector<records::Demonstration> collect(const StageContext& c, const SftStage& stage) {
  const text::PromptTemplate prompt_template = text::make_prompt_template(stage.prompt, c.tokenizer);
  std::vector<records::Demonstration> all;
  int64_t too_long = 0;
  const auto add = [&](records::Demonstration d) {
    if (d.prompt_ids_size() + d.completion_ids_size() > stage.max_length) return ++too_long, void();
    all.push_back(std::move(d));
  };
  for (const std::string& name : stage.data.from)
    for (const records::Trace& t : read_traces(c.stage_folder(name) + "/traces.jsonl")) {
      if (stage.data.max_traces > 0 && static_cast<int64_t>(all.size()) >= stage.data.max_traces) break;
      records::Demonstration d;
      for (int32_t id : data::render_prompt(t.question(), prompt_template, c.tokenizer)) d.add_prompt_ids(id);
      for (int32_t id : text::render_completion(prompt_template, c.tokenizer, stage.reasoning ? t.think() : "", t.answer()))
        d.add_completion_ids(id);
      d.set_question_id(t.question().id()), d.set_source(name);
      add(std::move(d));
    }
  if (stage.data.demonstrations_size > 0) {
    const data::QuestionSet questions = c.questions(stage.data.demonstrations, prompt_template);
    for (int64_t i = 0; i < stage.data.demonstrations_size; ++i)
      add(data::demonstrate(questions.at(static_cast<uint64_t>(i)), prompt_template, c.tokenizer, stage.reasoning));
  }
  if (all.empty()) throw InputError("stage " + c.stage.name + ": expected something to learn, found no trace within max_length");
  if (c.team.leads())
    log_info("{}: {} demonstrations, {} left out as longer than {} tokens", c.stage.name, all.size(), too_long, stage.max_length);
  return all;
}

}  // namespace

StageOutput run_sft(const StageContext& c, const SftStage& stage) {
  StageOutput out;
  out.model = c.start_model(stage.from, stage.model);
  out.prompt = stage.prompt;
  const auto all = collect(c, stage);
  const int64_t n = static_cast<int64_t>(all.size());
  const int64_t steps =
      std::max<int64_t>(1, static_cast<int64_t>(std::ceil(stage.epochs * static_cast<double>(n) / static_cast<double>(stage.batch_size))));
  TrainingSession session(c, *out.model, nullptr, stage.optim, steps, steps);
  Learner learner(*out.model, session.optimizer(), c.team, c.recipe.trainer.reduction_slots, stage.router_bias_update_rate,
                  stage.aux_loss_coeff);
  session.begin();
  int64_t epoch = -1;
  std::vector<int64_t> order;
  const auto publish = [&] { c.team.publish(*out.model, static_cast<uint64_t>(session.optimizer().steps())); };  // all evaluate
  const auto reached = [&](int64_t steps_done, Metrics& m) {
    const int64_t every = c.test_freq(stage.test_freq);
    if (every == 0 || steps_done % every != 0) return false;
    publish();
    const records::EvalResult e = evaluate(c, *out.model, stage.prompt, stage.data.demonstrations);
    add_validation_metrics(e, c.recipe.eval.rollout.n, m);
    return stage.stop_at_accuracy > 0.0 && e.accuracy() >= stage.stop_at_accuracy;
  };
  train_on_demonstrations(
      c, *out.model, session, learner, stage.batch_size,
      [&](int64_t step, int64_t begin, int64_t end) {
        std::vector<records::Demonstration> picked;
        for (int64_t i = step * stage.batch_size + begin; i < step * stage.batch_size + end; ++i) {
          if (i / n != epoch)
            epoch = i / n, order = shuffled(n, RandomStream(c.seed(), "sft/" + c.stage.name, {static_cast<uint64_t>(epoch)}));
          picked.push_back(all[static_cast<size_t>(order[static_cast<size_t>(i % n)])]);
        }
        return picked;
      },
      reached);
  publish();
  *out.result.mutable_eval() = evaluate(c, *out.model, stage.prompt, stage.data.demonstrations);
  session.describe(out.result);
  return out;
}

}  // namespace cohort::pipeline
