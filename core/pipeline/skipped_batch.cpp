#include "core/pipeline/skipped_batch.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/hash.h"
#include "core/config/yaml_reader.h"
#include "core/model/safetensors.h"
#include "core/pipeline/supervised.h"
#include "core/pipeline/wire.h"
#include "kernels/adamw/adamw.h"

namespace cohort::pipeline {
namespace {

namespace fs = std::filesystem;
constexpr uint32_t kFormat = 1;
constexpr uint64_t kMaxBytes = 1ull << 31;  // of one Protobuf message

/// Newest first; what is no dump is left alone.
std::vector<fs::path> dumps_in(const std::string& folder) {
  std::vector<std::pair<fs::file_time_type, fs::path>> dumps;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".pb") dumps.emplace_back(entry.last_write_time(), entry.path());
  std::sort(dumps.rbegin(), dumps.rend());
  std::vector<fs::path> paths;
  for (auto& dump : dumps) paths.push_back(std::move(dump.second));
  return paths;
}

template <class To, class From>
void fill(To* to, const From& from) {
  to->Assign(from.begin(), from.end());
}

}  // namespace

records::SkippedSample to_skipped(const TrainSample& sample, uint64_t group_id, uint32_t index) {
  records::SkippedSample out;
  out.set_group_id(group_id), out.set_index(index), out.set_truncated(sample.truncated);
  fill(out.mutable_prompt_ids(), sample.tokens.prompt), fill(out.mutable_completion_ids(), sample.tokens.completion);
  fill(out.mutable_rollout_logprobs(), sample.rollout_logprob), fill(out.mutable_old_logprobs(), sample.old_logprob);
  fill(out.mutable_ref_logprobs(), sample.ref_logprob), fill(out.mutable_advantages(), sample.advantage);
  return out;
}

records::SkippedSample to_skipped(const records::Demonstration& demonstration, uint64_t position) {
  records::SkippedSample out;
  out.set_group_id(position);
  *out.mutable_prompt_ids() = demonstration.prompt_ids(), *out.mutable_completion_ids() = demonstration.completion_ids();
  return out;
}

records::SkippedSample to_skipped(const Comparison& comparison, uint64_t position) {
  records::SkippedSample out;
  out.set_group_id(position), out.set_good(comparison.good);
  fill(out.mutable_completion_ids(), comparison.chosen), fill(out.mutable_rejected_ids(), comparison.rejected);
  return out;
}

std::string write_skipped_batch(const std::string& folder, const std::string& name, records::SkippedBatch batch, const at::Tensor& values,
                                const at::Tensor& router_biases) {
  make_directories(folder);
  const std::string weights = name + ".safetensors", path = folder + "/" + name + ".pb";
  const auto written = model::write_safetensors(folder + "/" + weights + ".tmp", {{"values", values}, {"router_biases", router_biases}});
  rename_durable(folder + "/" + weights + ".tmp", folder + "/" + weights);
  batch.set_format(kFormat);
  auto* entry = batch.mutable_weights();
  entry->set_name(weights), entry->set_bytes(written.bytes), entry->set_xxh3(written.hash);
  write_file_atomic(path, to_bytes(batch));
  const auto dumps = dumps_in(folder);
  for (size_t i = kMaxSkippedBatches; i < dumps.size(); ++i) {
    fs::remove(dumps[i]);
    fs::remove(fs::path(dumps[i]).replace_extension(".safetensors"));
  }
  return path;
}

records::SkippedBatch read_skipped_batch(const std::string& path) {
  records::SkippedBatch batch;
  if (!batch.ParseFromString(read_file(path, kMaxBytes)) || batch.format() != kFormat || batch.samples().empty())
    throw InputError(path + ": expected a batch that was skipped (bad_batches/STAGE_step_N.pb), found something else");
  const auto sized = [&](const auto& numbers, const records::SkippedSample& s) {
    return numbers.empty() || numbers.size() == s.completion_ids_size();
  };
  for (const records::SkippedSample& s : batch.samples())
    if (!sized(s.rollout_logprobs(), s) || !sized(s.old_logprobs(), s) || !sized(s.ref_logprobs(), s) || !sized(s.advantages(), s))
      throw InputError(path + ": expected one number per token, found another count");
  return batch;
}

bool Replayed::finite() const { return std::isfinite(loss) && std::isfinite(grad_norm); }

namespace {

TrainSample to_train_sample(const records::SkippedSample& s) {
  TrainSample t;
  t.tokens = {{s.prompt_ids().begin(), s.prompt_ids().end()}, {s.completion_ids().begin(), s.completion_ids().end()}};
  t.rollout_logprob = {s.rollout_logprobs().begin(), s.rollout_logprobs().end()};
  t.old_logprob = {s.old_logprobs().begin(), s.old_logprobs().end()};
  t.ref_logprob = {s.ref_logprobs().begin(), s.ref_logprobs().end()};
  t.advantage = {s.advantages().begin(), s.advantages().end()};
  t.truncated = s.truncated();
  return t;
}

/// The model, tokens and objective that a dump was made with.
class Replayer {
 public:
  Replayer(const records::SkippedBatch& batch, const std::string& path)
      : batch_(batch),
        recipe_(config::read_config_text<Recipe>(batch.recipe(), path + " (recipe)")),
        stage_(find_stage(recipe_, batch.stage())) {
    if (stage_ == nullptr) throw InputError(path + ": expected a stage of its recipe, found \"" + batch.stage() + "\"");
    const auto type = recipe_.model.dtype == "bf16" ? model::ComputeType::kBFloat16 : model::ComputeType::kFloat32;
    const auto head = std::holds_alternative<RewardModelStage>(stage_->body) ? model::Head::kScalar : model::Head::kLanguageModel;
    model_ = std::make_unique<model::CausalLM>(stage_architecture(recipe_, *stage_), 0, type, head);
    load_weights(fs::path(path).parent_path() / fs::path(batch.weights().name()).filename());
    const auto tokenizer = recipe_tokenizer(recipe_);
    model_->set_missing_tokens(tokenizer->missing_ids());
    vocab_limit_ = std::min<int64_t>(tokenizer->vocabulary_size(), model_->architecture().vocab_size);
    for (int i = 0; i < batch.samples_size(); ++i) require_sequences(batch.samples(i), fmt::format("{}: sample {}", path, i));
  }

  Replay run() {
    Replay out;
    const at::Tensor values = model_->parameters().values();
    out.bad_weights = values.numel() - at::isfinite(values).sum().item<int64_t>();
    at::Tensor total = at::zeros_like(values);
    for (const records::SkippedSample& s : batch_.samples()) {
      model_->zero_gradients();
      Replayed one;
      one.loss = backward(s);
      model_->fold_gradients();
      const at::Tensor& gradient = model_->parameters().grads();
      one.grad_norm = std::sqrt(kernels::sum_of_squares(gradient));
      total.add_(gradient), out.batch.loss += one.loss;
      out.samples.push_back(one);
    }
    out.batch.grad_norm = std::sqrt(kernels::sum_of_squares(total));
    return out;
  }

 private:
  /// What the model can read.
  void require_sequences(const records::SkippedSample& s, const std::string& where) const {
    const int64_t vocabulary = model_->architecture().vocab_size, positions = model_->architecture().max_position_embeddings;
    const int64_t length = std::max<int64_t>(s.prompt_ids_size() + int64_t{s.completion_ids_size()}, s.rejected_ids_size());
    if (s.completion_ids().empty() || length > positions)
      throw InputError(fmt::format("{}: expected 1 to {} tokens, found {}", where, positions, s.completion_ids().empty() ? 0 : length));
    for (const auto* ids : {&s.prompt_ids(), &s.completion_ids(), &s.rejected_ids()})
      for (const int32_t id : *ids)
        if (id < 0 || id >= vocabulary) throw InputError(fmt::format("{}: expected tokens below {}, found {}", where, vocabulary, id));
  }

  void load_weights(const std::string& path) {
    const std::string bytes = read_file(path, batch_.weights().bytes());
    if (xxh3_128_hex(bytes) != batch_.weights().xxh3()) throw InputError(path + ": expected the weights that the dump names, found others");
    const auto tensors = model::read_safetensors(path);
    const auto values = tensors.find("values"), biases = tensors.find("router_biases");
    if (values == tensors.end() || biases == tensors.end() || values->second.sizes() != model_->parameters().values().sizes() ||
        biases->second.numel() != bias_count())
      throw InputError(path + ": expected the weights of the stage's model, found another shape");
    model_->parameters().values().copy_(values->second);
    int64_t offset = 0;
    for (const at::Tensor& bias : model_->router_biases()) {
      bias.copy_(biases->second.narrow(0, offset, bias.numel()));
      offset += bias.numel();
    }
  }

  int64_t bias_count() const {
    int64_t count = 0;
    for (const at::Tensor& bias : model_->router_biases()) count += bias.numel();
    return count;
  }

  /// Adds the gradient of one sequence; returns its share of the loss.
  double backward(const records::SkippedSample& s) {
    return std::visit([&](const auto& stage) { return backward(stage, s); }, stage_->body);
  }

  double backward(const RlStage& stage, const records::SkippedSample& s) {
    const rl::AggregationScale scale{batch_.global_tokens(), batch_.global_sequences(),
                                     static_cast<double>(stage.rollout.max_response_length), batch_.micro_batches()};
    const TrainSample sample = to_train_sample(s);
    const RlLoss part = rl_loss(stage, *model_, pack_samples({&sample}), vocab_limit_, scale, nullptr);
    part.loss.backward();
    return part.metrics.loss;
  }

  double backward(const RewardModelStage&, const records::SkippedSample& s) {
    const Comparison one{
        {s.completion_ids().begin(), s.completion_ids().end()}, {s.rejected_ids().begin(), s.rejected_ids().end()}, s.good()};
    const ComparisonLoss part = comparison_loss(*model_, {&one}, batch_.global_sequences());
    part.loss.backward();
    return part.loss.item<double>();
  }

  template <class Demonstrations>
  requires requires(Demonstrations stage) { stage.aux_loss_coeff; }
  double backward(const Demonstrations& stage, const records::SkippedSample& s) {
    const bool mixture = !model_->router_biases().empty();
    model::MoeTrace trace{stage.aux_loss_coeff / batch_.global_sequences(), {}, {}};
    const auto part =
        demonstration_loss(*model_, {to_train_sample(s).tokens}, batch_.global_tokens(), vocab_limit_, mixture ? &trace : nullptr);
    part.loss.backward();
    return part.nll;
  }

  double backward(const RejectionSamplingStage&, const records::SkippedSample&) const {
    throw InputError("stage " + batch_.stage() + ": expected a stage that trains, found rejection_sampling");
  }

  const records::SkippedBatch& batch_;
  Recipe recipe_;
  const StageConfig* stage_;
  std::unique_ptr<model::CausalLM> model_;
  int64_t vocab_limit_ = 0;
};

}  // namespace

Replay replay(const records::SkippedBatch& batch, const std::string& path) {
  Replayer replayer(batch, path);
  try {
    return replayer.run();
  } catch (const InputError&) {
    throw;
  } catch (const std::exception& error) {  // numbers that are missing, of which only the stage's objective knows
    const std::string words = error.what();
    throw InputError(path + ": expected all that the stage's objective needs, found: " + words.substr(0, words.find('\n')));
  }
}

}  // namespace cohort::pipeline
