#pragma once
/// The part of a training stage that is the same for all: restore from the newest checkpoint, count, log, save, stop when asked.
///
/// A stage makes its model, opens a session, runs `for (step = session.first_step(); step < steps; …)` and ends each step with
/// finish_step(). What the session saves is everything a resumed stage needs to go on with the same bits.

#include <functional>
#include <memory>
#include <string>

#include "core/base/metrics.h"
#include "core/base/progress.h"
#include "core/base/stopwatch.h"
#include "core/pipeline/stage_context.h"
#include "core/train/optimizer.h"

namespace cohort::pipeline {

class TrainingSession {
 public:
  /// `reference` may be null. Collective: every member reads the same checkpoint. `steps` are the stage's, `optimizer_steps` those of the
  /// learning rate's schedule.
  TrainingSession(const StageContext& context, model::CausalLM& model, model::CausalLM* reference, const train::OptimConfig& optim,
                  int64_t steps, int64_t optimizer_steps);

  train::Optimizer& optimizer() { return optimizer_; }
  int64_t first_step() const { return first_step_; }
  /// Steps of the stage; fewer than at the start once end_early() was called.
  int64_t steps() const { return steps_; }

  uint64_t cursor = 0;  ///< the next question
  uint64_t tokens = 0;  ///< sampled and trained on
  records::EvalResult eval_start;
  bool has_eval_start = false;
  std::string pending;  ///< what on_save returned when the checkpoint was saved that this session began with
  std::function<std::string()>
      on_save;  ///< bytes of the stage's own state; called by every member whenever one is saved, the leader's count

  /// Call before the first step of a stage that was not resumed, after eval_start is known: saves step 0, so that a killed run knows where
  /// this stage's metrics begin.
  void begin();

  /// The step that finish_step() is called for next is the stage's last.
  void end_early() { ended_early_ = true; }

  /// Collective. Writes metrics (leader), saves every save_freq steps, after the last one and when asked to stop; in the latter case throws
  /// Stopped.
  void finish_step(int64_t step, const Metrics& metrics, const std::string& note);

  /// The leader appends a line to samples/STAGE.jsonl.
  void write_sample(const std::string& line);

  /// Fills steps, tokens, seconds and eval_start.
  void describe(records::StageResult& result) const;

 private:
  void restore();
  /// All members must go on from the same step; nobody saves before all have looked.
  void agree();
  void forget_earlier_attempts();
  void open_files(uint64_t metrics_bytes, uint64_t samples_bytes);
  void save(int64_t steps_done);

  const StageContext& context_;
  model::CausalLM& model_;
  model::CausalLM* reference_;
  train::Optimizer optimizer_;
  int64_t steps_;
  int64_t first_step_ = 0;
  bool restored_ = false;
  bool ended_early_ = false;
  double seconds_before_ = 0.0;
  Stopwatch clock_;
  Progress progress_;
  std::unique_ptr<MetricsWriter> metrics_, samples_;
};

}  // namespace cohort::pipeline
