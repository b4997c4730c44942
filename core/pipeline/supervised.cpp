#include "core/pipeline/supervised.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "core/pipeline/skipped_batch.h"

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
      const auto part = demonstration_loss(model, to_completions(batch(step, from, std::min(end, from + micro))),
                                           static_cast<double>(trained), c.vocab_limit(model), trace);
      loss_sum += part.nll, entropy_sum += part.entropy;
      part.loss.backward();
    }
    return std::vector<double>{loss_sum, entropy_sum};
  };
  const Learner::Result r = learner.step(batch_size, batch_size, work);
  session.after_update(step, r.optimizer, r.loss(), [&](records::SkippedBatch& dump) {
    dump.set_global_tokens(static_cast<double>(trained)), dump.set_global_sequences(static_cast<double>(batch_size));
    const auto [begin, end] = learner.my_items(batch_size);
    const auto mine = batch(step, begin, end);
    for (size_t i = 0; i < mine.size(); ++i) *dump.add_samples() = to_skipped(mine[i], static_cast<uint64_t>(begin) + i);
  });
  session.tokens += static_cast<uint64_t>(total);
  m["training/global_step"] = static_cast<double>(step + 1);
  m["train/loss"] = r.sums[0], m["actor/entropy"] = r.sums[1] / static_cast<double>(trained);
  m["actor/grad_norm"] = r.optimizer.grad_norm, m["actor/lr"] = r.optimizer.lr, m["train/skipped"] = r.optimizer.skipped ? 1.0 : 0.0;
  m["perf/total_num_tokens"] = static_cast<double>(total);
  m["timing_s/step"] = clock.seconds(), m["perf/throughput"] = static_cast<double>(total) / clock.seconds() / c.team.size();
  return fmt::format("loss {:.3f}", r.sums[0]);
}

}  // namespace

DemonstrationLoss demonstration_loss(model::CausalLM& model, const std::vector<model::Completion>& batch, double tokens,
                                     int64_t vocab_limit, model::MoeTrace* trace) {
  const auto r = model::completion_logprobs(model, batch, 1.0, vocab_limit, trace);
  DemonstrationLoss out;
  out.loss = -r.logprob_N.to(at::kDouble).sum() / tokens;
  out.nll = out.loss.item<double>(), out.entropy = r.entropy_N.to(at::kDouble).sum().item<double>();
  if (trace && trace->balance_loss.defined()) out.loss = out.loss + std::exchange(trace->balance_loss, at::Tensor());
  return out;
}

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
