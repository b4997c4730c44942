// A reward model from the policy's own answers to general questions: the rule-based checks of core/reward stand where R1 asks DeepSeek-V3
// to judge.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/random.h"
#include "core/eval/evaluation.h"
#include "core/model/weights_io.h"
#include "core/pipeline/learner.h"
#include "core/pipeline/preference.h"
#include "core/pipeline/skipped_batch.h"
#include "core/pipeline/stages/stages.h"
#include "core/pipeline/training_session.h"
#include "core/pipeline/wire.h"

namespace cohort::pipeline {
namespace {

double judge(const records::Sample& s) { return s.outcome() == records::CORRECT ? 1.0 : 0.0; }

/// HELPFUL: each wrong answer against a right one of the group, in turn. SAFETY: each answer with its label.
void compare(const records::Group& g, const text::Tokenizer& tokenizer, std::vector<Comparison>& out) {
  const auto input = [&](const records::Sample& s) { return preference_input(g, s, tokenizer); };
  if (g.question().category() == records::SAFETY) {
    for (const auto& s : g.samples()) out.push_back({input(s), {}, judge(s) > 0.5});
    return;
  }
  std::vector<const records::Sample*> good, bad;
  for (const auto& s : g.samples()) (judge(s) > 0.5 ? good : bad).push_back(&s);
  for (size_t i = 0; i < bad.size() && !good.empty(); ++i) out.push_back({input(*good[i % good.size()]), input(*bad[i]), true});
}

/// Every member samples its share; all learn all comparisons.
std::vector<Comparison> collect(const StageContext& c, const RewardModelStage& stage, model::CausalLM& policy, uint64_t& tokens) {
  const text::PromptTemplate prompt_template = text::make_prompt_template(stage.prompt, c.tokenizer);
  const data::QuestionSet questions = c.questions(stage.data, prompt_template, 2);
  const reward::Scorer scorer({}, prompt_template, c.tokenizer, stage.rollout.max_response_length);
  const int64_t begin = stage.questions * c.team.index() / c.team.size(), end = stage.questions * (c.team.index() + 1) / c.team.size();
  auto mine = eval::ask(questions, begin, end, 0, prompt_template, c.tokenizer);
  eval::answer(mine, policy, c.tokenizer, stage.rollout, scorer, {c.seed(), c.stage.name, 0}, {});
  records::GroupList list;
  for (const auto& g : mine) *list.add_groups() = g;
  std::vector<Comparison> all;
  for (const std::string& bytes : c.team.gather(to_bytes(list))) {
    const auto part = from_bytes<records::GroupList>(bytes, "reward model");
    for (const auto& g : part.groups()) {
      for (const auto& s : g.samples()) tokens += s.response_length();
      compare(g, c.tokenizer, all);
    }
  }
  if (all.empty())
    throw InputError("stage " + c.stage.name +
                     ": expected answers of different quality, found none: ask more questions or sample more answers");
  if (c.team.leads()) log_info("{}: {} comparisons from {} questions", c.stage.name, all.size(), stage.questions);
  return all;
}

std::unique_ptr<model::CausalLM> scalar_model(const model::CausalLM& backbone, const StageContext& c) {
  auto model = std::make_unique<model::CausalLM>(backbone.architecture(), c.seed(), c.compute_type(), model::Head::kScalar);
  for (const model::Parameter& p : backbone.parameters().all())
    if (const model::Parameter* mine = model->parameters().find(p.name)) mine->value.detach().copy_(p.value.detach());
  const auto from = backbone.router_biases(), to = model->router_biases();
  for (size_t i = 0; i < to.size(); ++i) to[i].copy_(from[i]);
  return model;
}

/// One optimizer step; returns what to show of it.
std::string train_step(const StageContext& c, const RewardModelStage& stage, model::CausalLM& model, TrainingSession& session,
                       Learner& learner, int64_t step, const std::vector<Comparison>& all, Metrics& m) {
  const int64_t n = static_cast<int64_t>(all.size()), micro = c.recipe.trainer.micro_batch_size;
  Stopwatch clock;
  uint64_t trained = 0;
  int64_t epoch = -1;
  std::vector<int64_t> order;
  std::vector<const Comparison*> batch;
  for (int64_t i = step * stage.batch_size; i < (step + 1) * stage.batch_size; ++i) {
    if (i / n != epoch) epoch = i / n, order = shuffled(n, RandomStream(c.seed(), "rm/" + c.stage.name, {static_cast<uint64_t>(epoch)}));
    batch.push_back(&all[static_cast<size_t>(order[static_cast<size_t>(i % n)])]);
    trained += batch.back()->chosen.size() + batch.back()->rejected.size();
  }
  const auto work = [&](int64_t begin, int64_t end, model::MoeTrace*) {
    double loss_sum = 0.0, right = 0.0;
    for (int64_t from = begin; from < end; from += micro) {
      const auto part = comparison_loss(model, {batch.begin() + from, batch.begin() + std::min(end, from + micro)},
                                        static_cast<double>(stage.batch_size));
      loss_sum += part.loss.item<double>(), right += part.right;
      part.loss.backward();
    }
    return std::vector<double>{loss_sum, right};
  };
  const auto r = learner.step(stage.batch_size, stage.batch_size, work);
  session.after_update(step, r.optimizer, r.loss(), [&](records::SkippedBatch& dump) {
    dump.set_global_sequences(static_cast<double>(stage.batch_size));
    const auto [begin, end] = learner.my_items(stage.batch_size);
    for (int64_t i = begin; i < end; ++i) *dump.add_samples() = to_skipped(*batch[static_cast<size_t>(i)], static_cast<uint64_t>(i));
  });
  session.tokens += trained;
  m["training/global_step"] = static_cast<double>(step + 1);
  m["train/loss"] = r.sums[0], m["rm/accuracy"] = r.sums[1] / static_cast<double>(stage.batch_size);
  m["actor/grad_norm"] = r.optimizer.grad_norm, m["actor/lr"] = r.optimizer.lr, m["train/skipped"] = r.optimizer.skipped ? 1.0 : 0.0;
  m["timing_s/step"] = clock.seconds();
  return fmt::format("loss {:.3f} accuracy {:.2f}", r.sums[0], r.sums[1] / static_cast<double>(stage.batch_size));
}

}  // namespace

StageOutput run_reward_model(const StageContext& c, const RewardModelStage& stage) {
  StageOutput out;
  const auto policy = c.model_of(stage.from);
  out.model = scalar_model(*policy, c);
  out.prompt = stage.prompt;
  uint64_t sampled = 0;
  const auto all = collect(c, stage, *policy, sampled);
  const int64_t n = static_cast<int64_t>(all.size());
  const int64_t steps =
      std::max<int64_t>(1, static_cast<int64_t>(std::ceil(stage.epochs * static_cast<double>(n) / static_cast<double>(stage.batch_size))));
  TrainingSession session(c, *out.model, nullptr, stage.optim, steps, steps);
  Learner learner(*out.model, session.optimizer(), c.team, c.recipe.trainer.reduction_slots, 0.0, 0.0);
  session.begin();
  if (session.tokens == 0) session.tokens = sampled;
  for (int64_t step = session.first_step(); step < steps; ++step) {
    Metrics m;
    std::string note;
    if (learner.trains()) note = train_step(c, stage, *out.model, session, learner, step, all, m);
    session.finish_step(step, m, note);
  }
  session.describe(out.result);
  return out;
}

}  // namespace cohort::pipeline
