#include "core/pipeline/supervised.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "core/model/logprobs.h"

namespace cohort::pipeline {
namespace {

std::vector<model::Completion> to_completions(const std::vector<records::Demonstration>& demonstrations) {
  std::vector<model::Completion> out;
  for (const auto& d : demonstrations)
    out.push_back({{d.prompt_ids().begin(), d.prompt_ids().end()}, {d.completion_ids().begin(), d.completion_ids().end()}});
  return out;
}

/// One optimizer step on the batch of `step`; returns what to show of it.
std::string train_step(const StageContext& c, model::CausalLM& model, TrainingSession& session, Learner& learner, int64_t step,
                       int64_t batch_size, const DemonstrationBatch& batch, Metrics& m) {
  const int64_t micro = c.recipe.trainer.micro_batch_size;
  Stopwatch clock;
  int64_t trained = 0, total = 0;
  for (const auto& d : batch(step, 0, batch_size))
    trained += d.completion_ids_size(), total += d.completion_ids_size() + d.prompt_ids_size();
  const auto work = [&](int64_t begin, int64_t end, model::MoeTrace* trace) {
    double loss_sum = 0.0, entropy_sum = 0.0;
    for (int64_t from = begin; from < end; from += micro) {
      const auto r = model::completion_logprobs(model, to_completions(batch(step, from, std::min(end, from + micro))), 1.0,
                                                c.vocab_limit(model), trace);
      at::Tensor loss = -r.logprob_N.to(at::kDouble).sum() / static_cast<double>(trained);
      loss_sum += loss.item<double>(), entropy_sum += r.entropy_N.to(at::kDouble).sum().item<double>();
      if (trace && trace->balance_loss.defined()) loss = loss + std::exchange(trace->balance_loss, at::Tensor());
      loss.backward();
    }
    return std::vector<double>{loss_sum, entropy_sum};
  };
  const Learner::Result r = learner.step(batch_size, batch_size, work);
  session.tokens += static_cast<uint64_t>(total);
  m["training/global_step"] = static_cast<double>(step + 1);
  m["train/loss"] = r.sums[0], m["actor/entropy"] = r.sums[1] / static_cast<double>(trained);
  m["actor/grad_norm"] = r.optimizer.grad_norm, m["actor/lr"] = r.optimizer.lr, m["train/skipped"] = r.optimizer.skipped ? 1.0 : 0.0;
  m["perf/total_num_tokens"] = static_cast<double>(total);
  m["timing_s/step"] = clock.seconds(), m["perf/throughput"] = static_cast<double>(total) / clock.seconds() / c.team.size();
  return fmt::format("loss {:.3f}", r.sums[0]);
}

}  // namespace

void train_on_demonstrations(const StageContext& c, model::CausalLM& model, TrainingSession& session, Learner& learner, int64_t batch_size,
                             const DemonstrationBatch& batch, const GoalCheck& reached) {
  for (int64_t step = session.first_step(); step < session.steps(); ++step) {
    Metrics m;
    std::string note;
    if (learner.trains()) note = train_step(c, model, session, learner, step, batch_size, batch, m);
    if (reached && reached(step + 1, m)) session.end_early();
    session.finish_step(step, m, note);
  }
}

}  // namespace cohort::pipeline
