#include "core/pipeline/training_session.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/log.h"
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

void set_biases(model::CausalLM& model, const at::Tensor& joined) {
  int64_t offset = 0;
  for (const at::Tensor& bias : model.router_biases()) {
    bias.copy_(joined.narrow(0, offset, bias.numel()));
    offset += bias.numel();
  }
}

/// Through which this member divides its models' parameters with others; null: it does not.
model::ParameterSharding* parameter_sharding(const StageContext& context) {
  Team* trainers = context.team.trainers();
  return trainers && context.recipe.trainer.parameter_sharding == "full" ? trainers->parameter_sharding() : nullptr;
}

/// What this member updates of `count` parameters: nothing where it does not train.
std::pair<int64_t, int64_t> optimizer_range(const StageContext& context, int64_t count) {
  const Team* trainers = context.team.trainers();
  if (trainers == nullptr) return {0, 0};
  return context.recipe.trainer.optimizer_sharding == "zero1" ? trainers->slice(count) : std::pair<int64_t, int64_t>(0, count);
}

}  // namespace

void require_finite(const model::CausalLM& model, const std::string& stage) {
  if (at::isfinite(model.parameters().values()).all().item<bool>()) return;
  throw Fault("stage " + stage +
              ": weights are not finite any more; a smaller optim.lr may help. Not saved: the last checkpoint is as it was");
}

TrainingSession::TrainingSession(const StageContext& context, model::CausalLM& model, model::CausalLM* reference,
                                 const train::OptimConfig& optim, int64_t steps, int64_t optimizer_steps)
    : context_(context),
      model_(model),
      reference_(reference),
      optimizer_(model.parameters(), optim, optimizer_steps, optimizer_range(context, model.parameters().size())),
      steps_(steps),
      progress_(context.stage.name, steps, context.team.leads()) {
  model_.set_recompute(context.recipe.trainer.recompute == "layer");
  if (context.recipe.trainer.resume_mode == "auto") restore();
  model_.shard_parameters(parameter_sharding(context));
  if (reference_) reference_->shard_parameters(parameter_sharding(context));
  agree();
  progress_.start_at(first_step_);
}

void TrainingSession::agree() {
  const std::string mine = restored_ ? std::to_string(first_step_) : "none";
  for (const std::string& other : context_.team.gather(mine))
    if (other != mine) throw Fault(context_.checkpoint_folder() + ": ranks found different checkpoints: " + mine + " and " + other);
}

void TrainingSession::restore() {
  auto found = train::load_checkpoint(context_.checkpoint_folder(), context_.stage.name, context_.hash);
  if (!found) return;
  auto& [manifest, tensors] = *found;
  const auto copy = [&](const char* name, at::Tensor to) {
    const auto from = tensors.find(name);
    if (from == tensors.end() || from->second.sizes() != to.sizes())
      throw Fault(context_.checkpoint_folder() + ": tensor '" + name + "' does not fit this model");
    to.copy_(from->second);
  };
  // A checkpoint holds the moments of all parameters, whoever saved it.
  const auto copy_moment = [&](const char* name, at::Tensor to) {
    at::Tensor whole = at::empty_like(model_.parameters().values());
    copy(name, whole);
    to.copy_(whole.narrow(0, optimizer_.range().first, to.numel()));
  };
  copy("values", model_.parameters().values());
  copy_moment("moment1", optimizer_.first_moment());
  copy_moment("moment2", optimizer_.second_moment());
  set_biases(model_, tensors.at("router_biases"));
  if (reference_) {
    copy("reference", reference_->parameters().values());
    set_biases(*reference_, tensors.at("reference_biases"));
  }
  optimizer_.set_steps(tensors.at("optimizer_steps").item<int64_t>());
  if (const auto kept = tensors.find("pending"); kept != tensors.end())
    pending.assign(static_cast<const char*>(kept->second.data_ptr()), static_cast<size_t>(kept->second.numel()));
  first_step_ = static_cast<int64_t>(manifest.step());
  cursor = manifest.question_cursor(), tokens = manifest.tokens(), seconds_before_ = manifest.seconds();
  if (context_.team.trainers()) skipped_in_a_row_ = manifest.skipped_in_a_row();
  has_eval_start = manifest.has_eval_start();
  if (has_eval_start) eval_start = manifest.eval_start();
  ended_early_ = manifest.ended_early();
  if (ended_early_) steps_ = first_step_;
  restored_ = true;
  open_files(manifest.metrics_bytes(), manifest.samples_bytes());
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
  if (context_.team.leads()) forget_earlier_attempts();
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

at::Tensor TrainingSession::whole_moment(const at::Tensor& mine) {
  Team* trainers = context_.team.trainers();
  return optimizer_.whole() || trainers == nullptr ? mine : trainers->gather_slices(mine, model_.parameters().size());
}

void TrainingSession::write(train::Checkpoint checkpoint, bool must) const {
  try {
    train::save_checkpoint(context_.checkpoint_folder(), std::move(checkpoint), context_.recipe.trainer.keep_last);
  } catch (const std::exception& error) {  // whatever the file system says
    if (must) throw;
    log_error("{}: no checkpoint was saved: {}; training goes on and tries again in {} steps", context_.stage.name, error.what(),
              context_.recipe.trainer.save_freq);
  }
}

void TrainingSession::save(int64_t steps_done, bool must) {
  std::string state = on_save ? on_save() : "";
  const auto values_in_use = model_.use_all(), reference_in_use = reference_ ? reference_->use_all() : nullptr;
  const at::Tensor moment1 = whole_moment(optimizer_.first_moment()), moment2 = whole_moment(optimizer_.second_moment());
  if (context_.team.leads()) {
    require_finite(model_, context_.stage.name);
    metrics_->sync(), samples_->sync();
    train::Checkpoint c;
    c.manifest.set_stage(context_.stage.name), c.manifest.set_step(static_cast<uint64_t>(steps_done));
    c.manifest.set_config_hash(context_.hash), c.manifest.set_seed(context_.seed());
    c.manifest.set_question_cursor(cursor), c.manifest.set_tokens(tokens);
    c.manifest.set_seconds(seconds_before_ + clock_.seconds());
    c.manifest.set_metrics_bytes(metrics_->bytes()), c.manifest.set_samples_bytes(samples_->bytes());
    if (has_eval_start) *c.manifest.mutable_eval_start() = eval_start;
    c.manifest.set_ended_early(ended_early_), c.manifest.set_skipped_in_a_row(static_cast<uint32_t>(skipped_in_a_row_));
    c.tensors = {{"values", model_.parameters().values()},
                 {"moment1", moment1},
                 {"moment2", moment2},
                 {"router_biases", joined_biases(model_)},
                 {"optimizer_steps", at::scalar_tensor(optimizer_.steps(), at::kLong).view({1})}};
    if (reference_) c.tensors.insert({{"reference", reference_->parameters().values()}, {"reference_biases", joined_biases(*reference_)}});
    if (!state.empty()) c.tensors["pending"] = at::from_blob(state.data(), {static_cast<int64_t>(state.size())}, at::kByte);
    write(std::move(c), must);
  }
  context_.team.barrier("checkpoint");
}

void TrainingSession::finish_step(int64_t step, const Metrics& metrics, const std::string& note) {
  if (ended_early_) steps_ = step + 1;
  if (metrics_) metrics_->write(context_.stage.name, step + 1, metrics);
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
