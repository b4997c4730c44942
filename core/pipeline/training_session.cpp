#include "core/pipeline/training_session.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <utility>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/memory.h"
#include "core/base/signals.h"
#include "core/config/yaml_writer.h"
#include "core/pipeline/skipped_batch.h"
#include "core/pipeline/wire.h"

namespace cohort::pipeline {
namespace {

constexpr uint64_t kMaxMetricsBytes = 1ull << 33;

uint64_t file_size(const std::string& path) {
  std::error_code none;
  const auto size = std::filesystem::file_size(path, none);
  return none ? 0 : size;
}

at::Tensor joined_biases(const model::CausalLM& model) {
  const auto biases = model.router_biases();
  return biases.empty() ? at::zeros({0}, at::kFloat) : at::cat(biases);
}

Section parameters_section(const char* name, const model::CausalLM& model) {
  Section section{name, {}};
  for (const model::Parameter& p : model.parameters().all()) section.tensors.emplace_back(p.name, p.value.sizes().vec());
  return section;
}

Section biases_section(const char* name, const model::CausalLM& model) {
  Section section{name, {}};
  const auto biases = model.router_biases();
  size_t next = 0;
  for (int64_t layer = 0; next < biases.size(); ++layer)
    if (model.architecture().is_moe_layer(layer))
      section.tensors.emplace_back(fmt::format("model.layers.{}.mlp.gate.e_score_correction_bias", layer), biases[next++].sizes().vec());
  return section;
}

void add_biases(TeamState& state, size_t section, const model::CausalLM& model) {
  int64_t begin = 0;
  for (const at::Tensor& bias : model.router_biases()) {
    state.parts.push_back({section, begin, bias});
    begin += bias.numel();
  }
}

/// For messages.
std::string layout_of(const StageContext& context) {
  const auto& cluster = context.recipe.cluster;
  const auto& trainer = context.recipe.trainer;
  return fmt::format("{} ranks, placement {}, {} that train, expert_parallel_size {}, optimizer_sharding {}, parameter_sharding {}",
                     context.team.size(), cluster.placement, context.team.trainer_count(), cluster.expert_parallel_size,
                     trainer.optimizer_sharding, trainer.parameter_sharding);
}

/// What this member updates of `count` parameters: nothing where it does not train.
std::pair<int64_t, int64_t> optimizer_range(const StageContext& context, int64_t count) {
  const Team* trainers = context.team.trainers();
  if (trainers == nullptr) return {0, 0};
  return context.recipe.trainer.optimizer_sharding == "zero1" ? trainers->slice(count) : std::pair<int64_t, int64_t>(0, count);
}

}  // namespace

void require_finite(const model::CausalLM& model, const std::string& stage) { require_finite(model.parameters().values(), stage); }

void require_finite(const at::Tensor& values, const std::string& stage) {
  if (at::isfinite(values).all().item<bool>()) return;
  throw Fault("stage " + stage +
              ": weights are not finite any more; a smaller optim.lr may help. Not saved: the last checkpoint is as it was");
}

TrainingSession::TrainingSession(const StageContext& context, model::CausalLM& model, model::CausalLM* reference,
                                 const train::OptimConfig& optim, int64_t steps, int64_t optimizer_steps)
    : context_(context),
      model_(model),
      reference_(reference),
      optimizer_(model.parameters(), optim, optimizer_steps, optimizer_range(context, model.parameters().size())),
      checkpoint_(context.team, context.checkpoint_folder(), layout_of(context), context.recipe.trainer.keep_last),
      steps_(steps),
      optimizer_steps_(optimizer_steps),
      progress_(context.stage.name, steps, context.team.leads()) {
  model_.set_recompute(context.recipe.trainer.recompute == "layer");
  if (context.recipe.trainer.resume_mode == "auto") restore();
  model_.shard_parameters(context.parameter_sharding());
  if (reference_) reference_->shard_parameters(context.parameter_sharding());
  progress_.start_at(first_step_);
}

// ---- What the state is ----

namespace {
enum : size_t { kValues, kMoment1, kMoment2, kRouterBiases, kReference, kReferenceBiases };  // as sections() has them
}

std::vector<Section> TrainingSession::sections() const {
  std::vector<Section> all = {parameters_section("values", model_), parameters_section("moment1", model_),
                              parameters_section("moment2", model_), biases_section("router_biases", model_)};
  if (reference_)
    all.push_back(parameters_section("reference", *reference_)), all.push_back(biases_section("reference_biases", *reference_));
  return all;
}

void TrainingSession::add_values(TeamState& state, int64_t begin, int64_t end) const {
  state.parts.push_back({kValues, begin, model_.parameters().values().slice(0, begin, end)});
  if (reference_) state.parts.push_back({kReference, begin, reference_->parameters().values().slice(0, begin, end)});
}

TeamState TrainingSession::to_save() const {
  TeamState state{sections(), {}, {}};
  const Team* trainers = context_.team.trainers();
  if (trainers == nullptr) return state;
  const auto [begin, end] = trainers->slice(model_.parameters().size());
  add_values(state, begin, end);
  // Whoever holds all moments saves a slice of them; whoever holds a slice saves that.
  const int64_t first = optimizer_.whole() ? begin : optimizer_.range().first, last = optimizer_.whole() ? end : optimizer_.range().second;
  const int64_t held = optimizer_.range().first;
  state.parts.push_back({kMoment1, first, optimizer_.first_moment().slice(0, first - held, last - held)});
  state.parts.push_back({kMoment2, first, optimizer_.second_moment().slice(0, first - held, last - held)});
  if (!context_.team.leads()) return state;
  add_biases(state, kRouterBiases, model_);
  if (reference_) add_biases(state, kReferenceBiases, *reference_);
  return state;
}

TeamState TrainingSession::to_restore() const {
  TeamState state{sections(), {}, {}};
  const auto [begin, end] = model_.sharded() ? context_.parameter_sharding()->slice(model_.parameters().size())
                                             : std::pair<int64_t, int64_t>(0, model_.parameters().size());
  add_values(state, begin, end);
  state.parts.push_back({kMoment1, optimizer_.range().first, optimizer_.first_moment()});
  state.parts.push_back({kMoment2, optimizer_.range().first, optimizer_.second_moment()});
  add_biases(state, kRouterBiases, model_);
  if (reference_) add_biases(state, kReferenceBiases, *reference_);
  return state;
}

void TrainingSession::check_counters(const records::CheckpointManifest& m) const {
  constexpr uint64_t kMost = (uint64_t{1} << 62) - 1;  // leaves room to count on
  const auto at_most = [](const char* key, uint64_t found, uint64_t most) {
    if (found > most) throw InputError(fmt::format("manifest.json: {}: expected at most {}, found {}", key, most, found));
  };
  at_most("step", m.step(), static_cast<uint64_t>(steps_));
  at_most("optimizer_steps", m.optimizer_steps(), static_cast<uint64_t>(optimizer_steps_));
  at_most("question_cursor", m.question_cursor(), kMost);
  at_most("tokens", m.tokens(), kMost);
  if (!std::isfinite(m.seconds()) || m.seconds() < 0.0)
    throw InputError(fmt::format("manifest.json: seconds: expected 0 or more, found {}", m.seconds()));
}

void TrainingSession::restore() {
  TeamState state = to_restore();
  const auto manifest = checkpoint_.restore(context_.stage.name, context_.hash, state, [this](const auto& m) { check_counters(m); });
  if (!manifest) return;
  pending = std::move(state.bytes);
  optimizer_.set_steps(static_cast<int64_t>(manifest->optimizer_steps()));
  first_step_ = static_cast<int64_t>(manifest->step());
  cursor = manifest->question_cursor(), tokens = manifest->tokens(), seconds_before_ = manifest->seconds();
  if (context_.team.trainers()) skipped_in_a_row_ = manifest->skipped_in_a_row();
  has_eval_start = manifest->has_eval_start();
  if (has_eval_start) eval_start = manifest->eval_start();
  ended_early_ = manifest->ended_early();
  if (ended_early_) steps_ = first_step_;
  restored_ = true;
  open_files(manifest->metrics_bytes(), manifest->samples_bytes());
  if (context_.team.leads()) log_info("{}: going on from step {} of {}", context_.stage.name, first_step_, steps_);
}

void TrainingSession::open_files(uint64_t metrics_bytes, uint64_t samples_bytes) {
  if (!context_.team.leads()) return;
  make_directories(context_.output("samples"));
  const std::string samples = context_.output("samples/" + context_.stage.name + ".jsonl");
  for (const auto& [path, bytes] : {std::pair(context_.output("metrics.jsonl"), metrics_bytes), std::pair(samples, samples_bytes)})
    if (file_size(path) < bytes)
      throw InputError(path + ": expected at least the " + std::to_string(bytes) + " bytes of the last checkpoint, found " +
                       std::to_string(file_size(path)) + ": put the file back, or start again with --fresh");
  metrics_ = std::make_unique<MetricsWriter>(context_.output("metrics.jsonl"), metrics_bytes);
  samples_ = std::make_unique<MetricsWriter>(samples, samples_bytes);
}

void TrainingSession::begin() {
  if (restored_) return;
  if (context_.team.leads()) forget_earlier_attempts();  // nobody writes there before the leader has made a folder for it
  open_files(file_size(context_.output("metrics.jsonl")), 0);
  save(0, true);
}

void TrainingSession::forget_earlier_attempts() {
  // Checkpoints of another configuration, whose step numbers would outlive the new ones, and of other unfinished stages, whose place in
  // metrics.jsonl is about to move.
  std::filesystem::remove_all(context_.output("checkpoints"));
  const std::string path = context_.output("metrics.jsonl"), mine = "{\"stage\":\"" + context_.stage.name + "\",";
  if (!std::filesystem::exists(path)) return;
  const std::string lines = read_file(path, kMaxMetricsBytes);
  std::string kept;
  for (size_t from = 0; from < lines.size();) {
    const size_t end = std::min(lines.find('\n', from), lines.size() - 1) + 1;
    if (lines.compare(from, mine.size(), mine) != 0) kept.append(lines, from, end - from);
    from = end;
  }
  if (kept.size() != lines.size()) write_file_atomic(path, kept);
}

// ---- Saving ----

void TrainingSession::require_finite_everywhere() const {
  std::string mine;
  try {
    if (const Team* trainers = context_.team.trainers()) {
      const auto [begin, end] = trainers->slice(model_.parameters().size());
      require_finite(model_.parameters().values().slice(0, begin, end), context_.stage.name);
    }
  } catch (const Fault& fault) {
    mine = fault.what();
  }
  for (const std::string& problem : context_.team.gather(mine))
    if (!problem.empty()) throw Fault(problem);
}

records::CheckpointManifest TrainingSession::describe_state(int64_t steps_done) const {
  records::CheckpointManifest m;
  m.set_stage(context_.stage.name), m.set_step(static_cast<uint64_t>(steps_done));
  m.set_config_hash(context_.hash), m.set_seed(context_.seed());
  m.set_question_cursor(cursor), m.set_tokens(tokens), m.set_optimizer_steps(static_cast<uint64_t>(optimizer_.steps()));
  m.set_seconds(seconds_before_ + clock_.seconds());
  if (metrics_) m.set_metrics_bytes(metrics_->bytes()), m.set_samples_bytes(samples_->bytes());
  if (has_eval_start) *m.mutable_eval_start() = eval_start;
  m.set_ended_early(ended_early_), m.set_skipped_in_a_row(static_cast<uint32_t>(skipped_in_a_row_));
  return m;
}

void TrainingSession::save(int64_t steps_done, bool must) {
  Stopwatch blocked;
  note_outcome(checkpoint_.wait(), false);
  require_finite_everywhere();
  TeamState state = to_save();
  if (on_save) state.bytes = on_save();
  if (metrics_) metrics_->sync(), samples_->sync();  // the manifest says how long they are
  if (const std::string problem = checkpoint_.begin(describe_state(steps_done), state); !problem.empty())
    note_outcome(TeamCheckpoint::Outcome{steps_done, problem, blocked.seconds()}, must);
  if (must) note_outcome(checkpoint_.wait(), true);
  save_blocked_ += blocked.seconds();
}

void TrainingSession::note_outcome(const std::optional<TeamCheckpoint::Outcome>& outcome, bool must) {
  if (!outcome) return;
  save_took_ += outcome->seconds;
  if (outcome->problem.empty()) return;
  if (must) throw Fault(outcome->problem);
  if (context_.team.leads())
    log_error("{}: no checkpoint was saved: step {}, {}; training goes on and tries again in {} steps", context_.stage.name, outcome->step,
              outcome->problem, context_.recipe.trainer.save_freq);
}

void TrainingSession::write_metrics(int64_t step, Metrics metrics) {
  if (save_took_ > 0.0) {
    metrics["timing_s/checkpoint_blocking"] = std::exchange(save_blocked_, 0.0);
    metrics["timing_s/checkpoint"] = std::exchange(save_took_, 0.0);
  }
  metrics["perf/max_memory_rss_gb"] = static_cast<double>(peak_resident_bytes()) / (1 << 30);
  if (metrics_) metrics_->write(context_.stage.name, step + 1, metrics);
}

void TrainingSession::finish_step(int64_t step, const Metrics& metrics, const std::string& note) {
  if (ended_early_) steps_ = step + 1;
  Stopwatch polled;
  note_outcome(checkpoint_.poll(), false);
  save_blocked_ += polled.seconds();
  write_metrics(step, metrics);
  progress_.update(step + 1, note);
  longest_step_ = std::max(longest_step_, step_clock_.lap());
  const bool stop = context_.team.any(stop_requested(longest_step_));
  const bool last = step + 1 == steps_;
  // After a skipped update the weights are suspect: they must not push out the checkpoints before them.
  const bool due = (step + 1) % context_.recipe.trainer.save_freq == 0 && !context_.team.any(skipped_in_a_row_ > 0);
  if (stop || last || due) save(step + 1, stop || last);
  if (stop && !last) {
    const std::string reason = stop_reason();
    throw Stopped(fmt::format("{}: stopped after step {}, saved ({})", context_.stage.name, step + 1,
                              reason.empty() ? "another rank was asked to stop" : reason));
  }
  if (last) progress_.finish();
}

void TrainingSession::after_update(int64_t step, const train::Optimizer::Step& update, double loss,
                                   const std::function<void(records::SkippedBatch&)>& describe) {
  if (!update.skipped) {
    skipped_in_a_row_ = 0;
    return;
  }
  ++skipped_in_a_row_;
  skipped_now_ = step == last_skipped_ ? skipped_now_ + 1 : 1, last_skipped_ = step;
  records::SkippedBatch dump;
  describe(dump);
  const auto parts = context_.team.trainers()->gather(to_bytes(dump));
  const std::string what = fmt::format("{} step {}: loss {}, gradient norm {}: not finite, no update was made", context_.stage.name,
                                       step + 1, loss, update.grad_norm);
  const auto in_use = model_.use_all();
  if (context_.team.leads()) {
    dump.clear_samples();
    for (const std::string& part : parts)
      dump.mutable_samples()->MergeFrom(from_bytes<records::SkippedBatch>(part, "skipped batch").samples());
    dump.set_recipe(config::write_config(context_.recipe)), dump.set_stage(context_.stage.name);
    dump.set_step(static_cast<uint64_t>(step) + 1), dump.set_optimizer_steps(static_cast<uint64_t>(optimizer_.steps()));
    dump.set_loss(loss), dump.set_grad_norm(update.grad_norm);
    const std::string name =
        fmt::format("{}_step_{}{}", context_.stage.name, step + 1, skipped_now_ > 1 ? fmt::format("_{}", skipped_now_) : "");
    try {
      const std::string file =
          write_skipped_batch(context_.output("bad_batches"), name, std::move(dump), model_.parameters().values(), joined_biases(model_));
      log_warn("{}; cohort replay {}", what, file);
    } catch (const std::exception& error) {  // whatever the file system says: the batch is lost, the run is not
      log_error("{}; it could not be kept for replay: {}", what, error.what());
    }
  }
  context_.team.trainers()->barrier("skipped batch");  // a member that gives up ends the others: not before the batch is written
  const int64_t most = context_.recipe.trainer.max_skipped_in_a_row;
  if (skipped_in_a_row_ >= most)
    throw Fault(
        fmt::format("{}; {} optimizer steps in a row (trainer.max_skipped_in_a_row). The last checkpoint stays as it is", what, most));
}

void TrainingSession::write_sample(const std::string& line) {
  if (samples_) samples_->write_line(line);
}

void TrainingSession::describe(records::StageResult& result) const {
  result.set_steps(static_cast<uint64_t>(steps_));
  result.set_tokens(tokens);
  result.set_seconds(seconds_before_ + clock_.seconds());
  if (has_eval_start) *result.mutable_eval_start() = eval_start;
}

}  // namespace cohort::pipeline
