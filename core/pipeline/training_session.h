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
#include "core/pipeline/team_checkpoint.h"
#include "core/train/optimizer.h"

namespace cohort::pipeline {

/// Fault when a weight is not finite: such a model is neither saved nor passed on.
void require_finite(const model::CausalLM& model, const std::string& stage);
void require_finite(const at::Tensor& values, const std::string& stage);

class TrainingSession {
 public:
  /// `reference` may be null. Collective: every member goes on from the same checkpoint. The model is set to trainer.recompute. `steps` are
  /// the stage's, `optimizer_steps` those of the learning rate's schedule.
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
  /// Bytes of the stage's own state, called by every member whenever a checkpoint is saved; the leader's count. Null: it has none.
  std::function<std::string()> on_save;

  /// Call before the first step of a stage that was not resumed, after eval_start is known: saves step 0, so that a killed run knows where
  /// this stage's metrics begin.
  void begin();

  /// The step that finish_step() is called for next is the stage's last.
  void end_early() { ended_early_ = true; }

  /// Collective. Writes metrics (leader), saves every save_freq steps (unless the last update was skipped), after the last one and when
  /// asked to stop, or when another step as long as the longest so far would not fit before the walltime; in the latter cases throws
  /// Stopped. A save goes on in the background, except where the run may end after it; the next line of metrics after it was committed or
  /// given up has timing_s/checkpoint_blocking, what it cost the run, and timing_s/checkpoint, how long it took in all.
  /// perf/max_memory_rss_gb is the leader's peak so far, in GiB, as verl's perf/max_memory_allocated_gb.
  void finish_step(int64_t step, const Metrics& metrics, const std::string& note);

  /// Collective among the members that train; call after every optimizer step. Where it was skipped, as loss or gradient were not finite,
  /// the batch goes to OUTPUT/bad_batches (core/pipeline/skipped_batch.h), and trainer.max_skipped_in_a_row of them in a row are a Fault.
  /// `describe` adds this member's samples, and the normalisers, to the record.
  void after_update(int64_t step, const train::Optimizer::Step& update, double loss,
                    const std::function<void(records::SkippedBatch&)>& describe);

  /// The leader appends a line to samples/STAGE.jsonl.
  void write_sample(const std::string& line);

  /// Fills steps, tokens, seconds and eval_start.
  void describe(records::StageResult& result) const;

 private:
  void restore();
  /// InputError where a counter of a checkpoint is none that this stage can have.
  void check_counters(const records::CheckpointManifest& manifest) const;
  void forget_earlier_attempts();
  void open_files(uint64_t metrics_bytes, uint64_t samples_bytes);
  std::vector<Section> sections() const;
  /// This member's part of the state, in place: a slice of everything where it trains.
  TeamState to_save() const;
  /// What this member holds of the state, in place.
  TeamState to_restore() const;
  /// Parts of the numbers [begin, end) of the weights.
  void add_values(TeamState& state, int64_t begin, int64_t end) const;
  /// Collective. Fault everywhere when a weight is not finite anywhere.
  void require_finite_everywhere() const;
  records::CheckpointManifest describe_state(int64_t steps_done) const;
  /// Collective. A disk that is full or failing ends the run only where the checkpoint must be: at the start, at the end, and when asked to
  /// stop; there it waits until the checkpoint is committed.
  void save(int64_t steps_done, bool must);
  void write_metrics(int64_t step, Metrics metrics);
  /// Says how a save ended, and keeps its times for the next line of metrics.
  void note_outcome(const std::optional<TeamCheckpoint::Outcome>& outcome, bool must);

  const StageContext& context_;
  model::CausalLM& model_;
  model::CausalLM* reference_;
  train::Optimizer optimizer_;
  TeamCheckpoint checkpoint_;
  double save_blocked_ = 0.0, save_took_ = 0.0;  ///< seconds, since the last line of metrics that has them
  int64_t steps_, optimizer_steps_;              ///< of the stage, in all
  int64_t first_step_ = 0;
  bool restored_ = false;
  bool ended_early_ = false;
  int64_t skipped_in_a_row_ = 0;
  int64_t last_skipped_ = -1, skipped_now_ = 0;  ///< step of the last skipped update, and how many in that step
  double longest_step_ = 0.0;
  Stopwatch step_clock_;
  double seconds_before_ = 0.0;
  Stopwatch clock_;
  Progress progress_;
  std::unique_ptr<MetricsWriter> metrics_, samples_;
};

}  // namespace cohort::pipeline
