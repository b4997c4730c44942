#include "launcher/plan.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/data/prompt.h"
#include "core/reward/reward.h"

namespace cohort::launcher {
namespace {

using pipeline::Recipe;

constexpr uint64_t kProbes = 64;  // questions looked at

class Planner {
 public:
  Planner(const Recipe& recipe, const text::Tokenizer& tokenizer, const pipeline::StageConfig& stage, int ranks)
      : recipe_(recipe),
        stage_(stage),
        ranks_(ranks),
        trainers_(ranks - static_cast<int>(recipe.cluster.rollout_ranks)),
        shape_(pipeline::stage_architecture(recipe, stage)),
        tokenizer_(tokenizer) {}

  StagePlan plan();

 private:
  void fill(const pipeline::PretrainStage& body);
  void fill(const pipeline::SftStage& body);
  void fill(const pipeline::RlStage& body);
  void fill(const pipeline::RejectionSamplingStage& body);
  void fill(const pipeline::RewardModelStage& body);

  int64_t weights(const model::Architecture& shape) const { return 4 * shape.parameters(); }
  int64_t micro_batch(int64_t sequences) const {
    const int64_t per_slot = (sequences + recipe_.trainer.reduction_slots - 1) / recipe_.trainer.reduction_slots;
    return std::min(recipe_.trainer.micro_batch_size, per_slot);
  }
  void add_training(int64_t sequences, int64_t prompt, int64_t completion);
  void divide_weights();
  void add_sampling(const generate::RolloutConfig& rollout, int64_t questions, int64_t ranks, int64_t prompt);
  void add_evaluation(const text::PromptConfig& prompt, const data::DataConfig& fallback);
  PromptLengths prompt_lengths(const data::DataConfig& data, const text::PromptConfig& prompt) const {
    return launcher::prompt_lengths(recipe_, tokenizer_, data, prompt);
  }
  StepPlan step_of(const pipeline::RlStage& body, const PromptLengths& prompts) const;
  std::optional<ExamplePlan> example_of(const pipeline::RlStage& body) const;

  const Recipe& recipe_;
  const pipeline::StageConfig& stage_;
  int ranks_, trainers_;  // of the job; of them those that train
  int64_t cache_ = 0;     // bytes of keys and values: of the stage's own sampling, or of evaluation where that needs more
  model::Architecture shape_;
  const text::Tokenizer& tokenizer_;
  StagePlan result_;
};

StagePlan Planner::plan() {
  result_.name = stage_.name;
  result_.type = stage_.type();
  result_.family = shape_.model_type;
  result_.parameters = shape_.parameters();
  result_.activated_parameters = shape_.activated_parameters();
  result_.memory.add("weights", weights(shape_));
  std::visit([this](const auto& body) { fill(body); }, stage_.body);
  if (cache_ > 0) result_.memory.add("kv cache", cache_);
  if (recipe_.trainer.parameter_sharding == "full" && trainers_ > 1) divide_weights();
  return std::move(result_);
}

/// What trains is never there together with what samples: the larger of the two. A reference has its slice meanwhile.
void Planner::divide_weights() {
  const bool trains = !std::holds_alternative<pipeline::RejectionSamplingStage>(stage_.body);
  if (!trains) return;
  MemoryPlan whole = result_.memory.without({"gradients", "activations", "backward pass", "rounded weights"});
  MemoryPlan pieces = result_.memory.without({"kv cache"});
  for (MemoryPlan* plan : {&whole, &pieces})
    for (auto& [name, bytes] : plan->parts)
      if (name == "reference" || (name == "weights" && plan == &pieces)) bytes /= trainers_;
  const int64_t experts = shape_.n_routed_experts > 0 ? recipe_.cluster.expert_parallel_size : 1;
  pieces.add("gathered weights", gathered_bytes(shape_, experts));
  result_.memory = pieces.total() > whole.total() ? pieces : whole;
}

/// `sequences` of an optimizer step's batch, over all ranks.
void Planner::add_training(int64_t sequences, int64_t prompt, int64_t completion) {
  const int64_t micro = micro_batch(sequences);
  result_.memory.add("gradients", gradient_bytes(shape_.parameters(), recipe_.trainer.reduction_slots / trainers_));
  result_.memory.add("moments", 2 * weights(shape_) / (recipe_.trainer.optimizer_sharding == "zero1" ? trainers_ : 1));
  const int64_t rounded = recipe_.model.dtype == "bf16" ? rounded_weights_bytes(shape_) : 0;
  if (rounded > 0) result_.memory.add("rounded weights", rounded);
  const int64_t tokens = micro * (prompt + completion);
  const bool recompute = recipe_.trainer.recompute == "layer";
  int64_t activations =
      recompute ? recomputed_activation_bytes(shape_, tokens, micro * completion) : activation_bytes(shape_, tokens, micro * completion);
  int64_t backward = backward_bytes(shape_, tokens, micro * completion);
  if (recipe_.model.dtype == "bf16") {
    activations += rounded_copies_bytes(shape_, tokens);
    backward *= 2;  // a rounded copy of each gradient
  }
  result_.memory.add("activations", activations);
  result_.memory.add("backward pass", backward);
  // Micro-batches differ in length, so what one layer's second pass frees does not fit the next one's: malloc keeps about as much again
  // (heaptrack: 214 MB live at the peak, 320 MiB resident).
  if (recompute) result_.memory.add("freed, kept by malloc", layer_activation_bytes(shape_, tokens));
}

/// `questions` shared by `ranks`.
void Planner::add_sampling(const generate::RolloutConfig& rollout, int64_t questions, int64_t ranks, int64_t prompt) {
  const int64_t mine = (questions + ranks - 1) / ranks * rollout.n, longest = prompt + rollout.max_response_length;
  const int64_t together = rollout.sequences_together(mine, kv_cache_bytes(shape_, 1, longest));
  cache_ = std::max(cache_, kv_cache_bytes(shape_, together, longest));
}

/// What pipeline::evaluate() asks.
void Planner::add_evaluation(const text::PromptConfig& prompt, const data::DataConfig& fallback) {
  const pipeline::EvalSection& e = recipe_.eval;
  const data::DataConfig& reasoning = e.data.given() ? e.data : fallback;
  if (reasoning.given()) add_sampling(e.rollout, e.questions, ranks_, prompt_lengths(reasoning, prompt).longest);
  if (e.general.given() && e.general_questions > 0)
    add_sampling(e.rollout, e.general_questions, ranks_, prompt_lengths(e.general, prompt).longest);
}

void Planner::fill(const pipeline::PretrainStage& body) {
  const auto [prompt, completion] = document_lengths(recipe_, tokenizer_, body);
  add_training(body.batch_size, prompt, completion);
  add_evaluation(body.eval_prompt(), body.data);
}

void Planner::fill(const pipeline::SftStage& body) {
  add_training(body.batch_size, 0, body.max_length);
  add_evaluation(body.prompt, body.data.demonstrations);
}

void Planner::fill(const pipeline::RlStage& body) {
  const PromptLengths prompts = prompt_lengths(body.data, body.prompt);
  add_training(body.ppo_mini_batch_size * body.rollout.n, prompts.longest, body.rollout.max_response_length);
  if (body.algorithm.needs_reference()) result_.memory.add("reference", weights(shape_));
  if (!body.preference_model.empty())
    result_.memory.add("reward model",
                       weights(pipeline::stage_architecture(recipe_, *pipeline::find_stage(recipe_, body.preference_model))));
  const bool split = trainers_ < ranks_;
  add_sampling(body.rollout, body.train_batch_size, split ? ranks_ - trainers_ : ranks_, prompts.longest);
  add_evaluation(body.prompt, body.data);
  result_.step = step_of(body, prompts);
  result_.example = example_of(body);
}

void Planner::fill(const pipeline::RejectionSamplingStage& body) {
  add_sampling(body.rollout, body.questions, ranks_, prompt_lengths(body.data, body.prompt).longest);
}

void Planner::fill(const pipeline::RewardModelStage& body) {
  const PromptLengths prompts = prompt_lengths(body.data, body.prompt);
  result_.memory.add("sampled policy", weights(shape_));
  add_training(2 * body.batch_size, prompts.longest + body.rollout.max_response_length, 0);
  add_sampling(body.rollout, body.questions, ranks_, prompts.longest);
}

StepPlan Planner::step_of(const pipeline::RlStage& body, const PromptLengths& prompts) const {
  StepPlan step;
  step.prompt_tokens = body.train_batch_size * prompts.mean;
  step.sampled_tokens = body.train_batch_size * body.rollout.n * body.rollout.max_response_length;
  step.sampling_rounds = body.algorithm.filter_groups.enable ? body.algorithm.filter_groups.max_num_gen_batches : 1;
  step.trained_tokens = step.sampled_tokens * body.algorithm.ppo_epochs;
  step.optimizer_steps = body.train_batch_size / body.ppo_mini_batch_size * body.algorithm.ppo_epochs;
  step.gradient_bytes_sent = 2 * (trainers_ - 1) * (weights(shape_) / trainers_);
  return step;
}

/// The first question that has an answer of its own.
std::optional<ExamplePlan> Planner::example_of(const pipeline::RlStage& body) const {
  const text::PromptTemplate prompt_template = text::make_prompt_template(body.prompt, tokenizer_);
  const data::QuestionSet questions(body.data, static_cast<uint64_t>(recipe_.run.seed), data::prompt_length(prompt_template, tokenizer_));
  reward::RewardConfig rewards = body.rewards;
  rewards.preference = 0.0;  // no model here
  const reward::Scorer scorer(rewards, prompt_template, tokenizer_, body.rollout.max_response_length);
  for (uint64_t i = 0; i < kProbes; ++i) {
    records::Group group;
    *group.mutable_question() = questions.at(i);
    if (group.question().answer().empty()) continue;
    const records::Demonstration demonstration = data::demonstrate(group.question(), prompt_template, tokenizer_);
    records::Sample& sample = *group.add_samples();
    *sample.mutable_response_ids() = demonstration.completion_ids();
    sample.set_finish_reason(records::STOP);
    scorer.score(group);
    const auto text_of = [&](const auto& ids) { return tokenizer_.decode({ids.data(), static_cast<size_t>(ids.size())}); };
    return ExamplePlan{.source = group.question().source(),
                       .prompt = text_of(demonstration.prompt_ids()),
                       .completion = text_of(demonstration.completion_ids()),
                       .prompt_tokens = demonstration.prompt_ids_size(),
                       .completion_tokens = demonstration.completion_ids_size(),
                       .rewards = {sample.rewards().begin(), sample.rewards().end()},
                       .total_reward = sample.total_reward()};
  }
  return std::nullopt;
}

}  // namespace

PromptLengths prompt_lengths(const Recipe& recipe, const text::Tokenizer& tokenizer, const data::DataConfig& data,
                             const text::PromptConfig& prompt) {
  const text::PromptTemplate prompt_template = text::make_prompt_template(prompt, tokenizer);
  const data::QuestionSet questions(data, static_cast<uint64_t>(recipe.run.seed), data::prompt_length(prompt_template, tokenizer));
  PromptLengths lengths;
  for (uint64_t i = 0; i < kProbes; ++i) {
    const auto length = static_cast<int64_t>(data::render_prompt(questions.at(i), prompt_template, tokenizer).size());
    lengths.longest = std::max(lengths.longest, length);
    lengths.mean += length;
  }
  lengths.mean /= static_cast<int64_t>(kProbes);
  return lengths;
}

std::pair<int64_t, int64_t> document_lengths(const Recipe& recipe, const text::Tokenizer& tokenizer, const pipeline::PretrainStage& stage) {
  const data::PretrainCorpus corpus(stage.data, stage.mixture, tokenizer, static_cast<uint64_t>(recipe.run.seed));
  std::pair<int64_t, int64_t> longest;
  for (uint64_t i = 0; i < kProbes; ++i) {
    const records::Demonstration document = corpus.at(i);
    longest.first = std::max<int64_t>(longest.first, document.prompt_ids_size());
    longest.second = std::max<int64_t>(longest.second, document.completion_ids_size());
  }
  return longest;
}

std::vector<StagePlan> make_plan(const Recipe& recipe, int ranks) {
  const auto tokenizer = pipeline::recipe_tokenizer(recipe);
  std::vector<StagePlan> plans;
  for (const pipeline::StageConfig& stage : recipe.stages) plans.push_back(Planner(recipe, *tokenizer, stage, ranks).plan());
  return plans;
}

}  // namespace cohort::launcher
