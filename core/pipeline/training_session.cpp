#include "core/pipeline/training_session.h"

#include <ATen/ATen.h>

#include <filesystem>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/signals.h"
#include "core/train/checkpoint.h"

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

}  // namespace

TrainingSession::TrainingSession(const StageContext& context, model::CausalLM& model, model::CausalLM* reference,
                                 const train::OptimConfig& optim, int64_t steps, int64_t optimizer_steps)
    : context_(context),
      model_(model),
      reference_(reference),
      optimizer_(model.parameters(), optim, optimizer_steps),
      steps_(steps),
      progress_(context.stage.name, steps, context.team.leads()) {
  if (context.recipe.trainer.resume_mode == "auto") restore();
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
  copy("values", model_.parameters().values());
  copy("moment1", optimizer_.first_moment());
  copy("moment2", optimizer_.second_moment());
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
  save(0);
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

void TrainingSession::save(int64_t steps_done) {
  std::string state = on_save ? on_save() : "";
  if (context_.team.leads()) {
    metrics_->sync(), samples_->sync();
    train::Checkpoint c;
    c.manifest.set_stage(context_.stage.name), c.manifest.set_step(static_cast<uint64_t>(steps_done));
    c.manifest.set_config_hash(context_.hash), c.manifest.set_seed(context_.seed());
    c.manifest.set_question_cursor(cursor), c.manifest.set_tokens(tokens);
    c.manifest.set_seconds(seconds_before_ + clock_.seconds());
    c.manifest.set_metrics_bytes(metrics_->bytes()), c.manifest.set_samples_bytes(samples_->bytes());
    if (has_eval_start) *c.manifest.mutable_eval_start() = eval_start;
    c.manifest.set_ended_early(ended_early_);
    c.tensors = {{"values", model_.parameters().values()},
                 {"moment1", optimizer_.first_moment()},
                 {"moment2", optimizer_.second_moment()},
                 {"router_biases", joined_biases(model_)},
                 {"optimizer_steps", at::scalar_tensor(optimizer_.steps(), at::kLong).view({1})}};
    if (reference_) c.tensors.insert({{"reference", reference_->parameters().values()}, {"reference_biases", joined_biases(*reference_)}});
    if (!state.empty()) c.tensors["pending"] = at::from_blob(state.data(), {static_cast<int64_t>(state.size())}, at::kByte);
    train::save_checkpoint(context_.checkpoint_folder(), std::move(c), context_.recipe.trainer.keep_last);
  }
  context_.team.barrier("checkpoint");
}

void TrainingSession::finish_step(int64_t step, const Metrics& metrics, const std::string& note) {
  if (ended_early_) steps_ = step + 1;
  if (metrics_) metrics_->write(context_.stage.name, step + 1, metrics);
  progress_.update(step + 1, note);
  const bool stop = context_.team.any(stop_requested());
  const bool last = step + 1 == steps_;
  if (stop || last || (step + 1) % context_.recipe.trainer.save_freq == 0) save(step + 1);
  if (stop && !last) throw Stopped(context_.stage.name + ": stopped after step " + std::to_string(step + 1) + ", saved");
  if (last) progress_.finish();
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
