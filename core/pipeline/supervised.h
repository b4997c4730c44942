#pragma once
/// Next-token training on demonstrations: what pretraining, SFT and distillation share.

#include <functional>
#include <vector>

#include "core/model/logprobs.h"
#include "core/pipeline/learner.h"
#include "core/pipeline/training_session.h"
#include "core/records/records.pb.h"

namespace cohort::pipeline {

/// The demonstrations [begin, end) of step `step`, a pure function: every member can ask for any of them.
using DemonstrationBatch = std::function<std::vector<records::Demonstration>(int64_t step, int64_t begin, int64_t end)>;

/// Called after each optimizer step with the number of steps done; may add metrics. True: the stage has reached its goal and ends here.
using GoalCheck = std::function<bool(int64_t steps_done, Metrics& metrics)>;

/// Forward pass and loss of a micro-batch.
struct DemonstrationLoss {
  at::Tensor loss;       ///< scalar with gradient, with the balance loss of `trace`
  double nll = 0.0;      ///< the loss without it
  double entropy = 0.0;  ///< sum over the completion tokens
};
/// `tokens` are the completion tokens of the whole batch, so the losses of its micro-batches add up.
DemonstrationLoss demonstration_loss(model::CausalLM& model, const std::vector<model::Completion>& batch, double tokens,
                                     int64_t vocab_limit, model::MoeTrace* trace);

/// Loss: -Σ log p(completion token) / (completion tokens of the whole batch). Runs from session.first_step() to session.steps(),
/// or until `reached` says so.
void train_on_demonstrations(const StageContext& context, model::CausalLM& model, TrainingSession& session, Learner& learner,
                             int64_t batch_size, const DemonstrationBatch& batch, const GoalCheck& reached = nullptr);

}  // namespace cohort::pipeline
