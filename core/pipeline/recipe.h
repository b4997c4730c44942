#pragma once
/// The recipe: everything that a YAML file says. One struct per section and per stage type; defaults live here and nowhere else.
///
/// Stages form a graph: `from` names the stage whose model is the start, `data.from` the stages whose traces are learned, `policy` the
/// stage that is sampled, `preference_model` the stage that scores. check_recipe() finds what is wrong with the graph.

#include <string>
#include <variant>
#include <vector>

#include "core/config/field.h"
#include "core/data/corpus.h"
#include "core/data/question_set.h"
#include "core/generate/rollout_config.h"
#include "core/model/architecture.h"
#include "core/reward/reward.h"
#include "core/rl/algorithm_config.h"
#include "core/text/template.h"
#include "core/text/tokenizer.h"
#include "core/train/optim_config.h"

namespace cohort::config {
class Places;
}

namespace cohort::pipeline {

struct RunSection {
  std::string name = "run";
  int64_t seed = 17;
  std::string output = "runs/run";
  int64_t samples_per_step = 1024;
  double walltime_s = 0.0;
  double walltime_margin_s = 120.0;

  template <class Visitor>
  void visit(Visitor& v) {
    v.text("name", name, "shown in the log");
    v.integer("seed", seed, config::at_least(0), "the result is a function of the config and this number");
    v.text("output", output, "run folder: metrics, samples, checkpoints, stages, summary.json");
    v.integer("samples_per_step", samples_per_step, config::at_least(0), "samples written to samples/STAGE.jsonl per rollout");
    v.number("walltime_s", walltime_s, config::at_least(0.0),
             "seconds from the start after which the job is ended by others; 0: not known, or SLURM_JOB_END_TIME");
    v.number("walltime_margin_s", walltime_margin_s, config::at_least(0.0),
             "the run saves and stops (exit code 75) so many seconds before that, and sooner if a step would not fit");
  }
};

struct ModelSection {
  std::string preset = "deepseek_v3_tiny";
  std::string path;
  std::string dtype = "fp32";

  template <class Visitor>
  void visit(Visitor& v) {
    v.choice("preset", preset, {"deepseek_v3_tiny", "dense_tiny", "calibration_a", "calibration_b", "deepseek_v3"},
             "architecture of a model that starts from random weights");
    v.text("path", path, "Hugging Face folder to start from instead: config.json, model.safetensors or an index and its shards");
    v.choice("dtype", dtype, {"fp32", "bf16"}, "precision of matrix products; weights and optimizer are fp32");
  }
};

struct ClusterSection {
  std::string placement = "colocated";
  int64_t rollout_ranks = 0;
  int64_t max_staleness = 0;
  int64_t expert_parallel_size = 1;
  double deadline_s = 600;
  double heartbeat_timeout_s = 25;

  template <class Visitor>
  void visit(Visitor& v) {
    v.choice("placement", placement, {"colocated", "split"},
             "colocated: every rank rolls out, then trains; split: the last rollout_ranks ranks roll out, the others train");
    v.integer("rollout_ranks", rollout_ranks, config::at_least(0), "ranks that only roll out, with placement split");
    v.rule(placement != "split" || rollout_ranks > 0, "rollout_ranks", "at least 1 with placement split", std::to_string(rollout_ranks));
    v.rule(placement == "split" || rollout_ranks == 0, "rollout_ranks", "0 with placement " + placement, std::to_string(rollout_ranks));
    v.integer("max_staleness", max_staleness, config::between(0, 16),
              "RL step s trains on answers of the policy of step max(0, s - max_staleness); above 0, ranks that roll out work on a later "
              "batch while the others train. Best with algorithm.rollout_correction.bypass_mode. With rollout.partial_rollout_tokens "
              "instead: no token is older than so many steps; batches "
              "are sampled one step ahead from 2 on, and what is left is for answers that are carried. Changes the result");
    v.integer(
        "expert_parallel_size", expert_parallel_size, config::between(1, 1 << 12),
        "neighbouring ranks that share the work of the routed experts while training: each runs as many of them, for the tokens of all "
        "these ranks. Divides the ranks and the experts; a dense stage has nothing to share. The same result");
    v.number("deadline_s", deadline_s, config::positive(),
             "seconds without movement after which a communication names the missing ranks and fails");
    v.number("heartbeat_timeout_s", heartbeat_timeout_s, config::at_least(0.0),
             "seconds of silence after which a rank that is stopped, or whose host is gone, is named and ends the job; rank 0 warns at "
             "half of it. "
             "0: off");
    v.rule(heartbeat_timeout_s == 0.0 || heartbeat_timeout_s >= 1.0, "heartbeat_timeout_s", "0 or at least 1",
           fmt::format("{}", heartbeat_timeout_s));
  }
};

struct TrainerSection {
  int64_t micro_batch_size = 64;
  int64_t reduction_slots = 4;
  int64_t save_freq = 20;
  int64_t keep_last = 2;
  int64_t max_skipped_in_a_row = 3;
  std::string resume_mode = "auto";
  std::string optimizer_sharding = "none";
  std::string parameter_sharding = "none";
  std::string recompute = "none";

  template <class Visitor>
  void visit(Visitor& v) {
    v.integer("micro_batch_size", micro_batch_size, config::between(1, config::kMaxBatch),
              "sequences in one forward and backward pass; does not change the result");
    v.integer("reduction_slots", reduction_slots, config::between(1, 1 << 12),
              "a batch's gradient is summed as this many parts in a fixed tree, so that 1, 2, … ranks give the same bits; the number of "
              "ranks must divide it");
    v.rule((reduction_slots & (reduction_slots - 1)) == 0, "reduction_slots", "a power of two", std::to_string(reduction_slots));
    v.integer("save_freq", save_freq, config::between(1, config::kMaxSteps), "steps between checkpoints");
    v.integer("keep_last", keep_last, config::between(2, config::kMaxSteps), "checkpoints kept per stage");
    v.integer("max_skipped_in_a_row", max_skipped_in_a_row, config::between(1, config::kMaxSteps),
              "optimizer steps in a row whose loss or gradient is not finite before the run fails; each is skipped and dumped to "
              "bad_batches/ for cohort replay");
    v.choice("resume_mode", resume_mode, {"auto", "disable"},
             "auto: go on from the newest valid checkpoint; disable: start the unfinished stage again");
    v.choice("optimizer_sharding", optimizer_sharding, {"none", "zero1"},
             "none: every rank holds AdamW's moments of all weights and updates them all; zero1: of a slice, and the slices are exchanged. "
             "The same result");
    v.choice("parameter_sharding", parameter_sharding, {"none", "full"},
             "none: every rank that trains holds all weights; full: between uses a slice, as of the optimizer's state, and gathers a layer "
             "while it runs, everything while it samples. The same result");
    v.rule(parameter_sharding == "none" || optimizer_sharding == "zero1", "parameter_sharding",
           "none unless optimizer_sharding is zero1, whose slices it shares", parameter_sharding);
    v.choice("recompute", recompute, {"none", "layer"},
             "none: keep what the backward pass needs; layer: keep each layer's input and run the layer again. The same result");
  }
};

struct EvalSection {
  data::DataConfig data = held_out();
  data::DataConfig general = held_out();
  int64_t questions = 128;
  int64_t general_questions = 48;
  generate::RolloutConfig rollout = {.n = 1, .temperature = 0.6, .top_p = 0.95};
  int64_t test_freq = 0;

  static data::DataConfig held_out() {
    data::DataConfig data;
    data.split = "test";
    return data;
  }

  template <class Visitor>
  void visit(Visitor& v) {
    v.section("data", data, "held-out reasoning questions; without tasks and path: the stage's own tasks");
    v.section("general", general, "held-out general questions (instructions, safety); empty: none");
    v.integer("questions", questions, config::between(1, config::kMaxBatch), "reasoning questions asked");
    v.integer("general_questions", general_questions, config::between(0, config::kMaxBatch), "general questions asked");
    v.section("rollout", rollout, "sampling for evaluation (R1: temperature 0.6, top_p 0.95)");
    v.integer("test_freq", test_freq, config::between(0, config::kMaxSteps),
              "steps between evaluations during sft and rl (val-core/*); 0: only at the ends");
  }
};

/// Pretraining of a tiny base model on the noisy corpus: stands for the pretrained base that R1 starts from.
struct PretrainStage {
  static constexpr const char* kType = "pretrain";
  std::string model;
  std::string from;
  data::DataConfig data;
  data::PretrainMixture mixture;
  std::string eval_template = "r1_zero_brief";
  int64_t steps = 400;
  int64_t batch_size = 64;
  double router_bias_update_rate = 0.001;
  double aux_loss_coeff = 1e-4;
  train::OptimConfig optim = {.lr = 3e-3, .lr_scheduler = "cosine", .warmup_steps = 20};

  text::PromptConfig eval_prompt() const { return {.name = eval_template, .system_prompt = "", .examples = {}}; }

  template <class Visitor>
  void visit(Visitor& v) {
    v.text("model", model, "preset of this stage's model where it is not model.preset");
    v.text("from", from, "stage whose model is trained on; empty: random weights, or model.path");
    v.section("data", data, "reasoning tasks of the corpus");
    v.section("mixture", mixture, "how well and in what form the corpus solves them");
    v.text("eval_template", eval_template, "prompt template of the evaluation");
    v.rule(text::is_template(eval_template), "eval_template", join(text::template_names()), eval_template);
    v.integer("steps", steps, config::between(1, config::kMaxSteps), "optimizer steps");
    v.integer("batch_size", batch_size, config::between(1, config::kMaxBatch), "documents per step");
    v.number("router_bias_update_rate", router_bias_update_rate, config::at_least(0.0),
             "gamma of the auxiliary-loss-free balancing (V3: 0.001)");
    v.number("aux_loss_coeff", aux_loss_coeff, config::at_least(0.0), "alpha of the sequence-wise balance loss (V3: 1e-4)");
    v.section("optim", optim, "optimizer");
  }
};

struct TracesConfig {
  std::vector<std::string> from;
  data::DataConfig demonstrations;
  int64_t demonstrations_size = 0;
  int64_t max_traces = 0;

  template <class Visitor>
  void visit(Visitor& v) {
    v.texts("from", from, "stages (rejection_sampling) whose traces are learned");
    v.section("demonstrations", demonstrations, "questions with known solutions and answers, learned as they are");
    v.integer("demonstrations_size", demonstrations_size, config::between(0, config::kMaxBatch), "how many of them");
    v.integer("max_traces", max_traces, config::between(0, config::kMaxBatch), "use only the first so many traces; 0: all");
    v.rule(!from.empty() || demonstrations_size > 0, "from", "stages with traces, or demonstrations_size above 0", "neither");
  }
};

/// Supervised fine-tuning on traces; distillation when `model` is another model.
struct SftStage {
  static constexpr const char* kType = "sft";
  std::string model;
  std::string from;
  TracesConfig data;
  text::PromptConfig prompt = {.name = "chat_think", .system_prompt = "", .examples = {}};
  bool reasoning = true;
  double epochs = 2;
  int64_t batch_size = 64;
  int64_t max_length = 512;
  double stop_at_accuracy = 0.0;
  int64_t test_freq = -1;
  double router_bias_update_rate = 0.0;
  double aux_loss_coeff = 0.0;
  train::OptimConfig optim = {.lr = 1e-3, .lr_scheduler = "cosine"};

  template <class Visitor>
  void visit(Visitor& v) {
    v.text("model", model, "preset of this stage's model where it is not model.preset");
    v.text("from", from, "stage whose model is the start; empty: random weights, or model.path");
    v.section("data", data, "what is learned");
    prompt.visit(v);
    v.flag("reasoning", reasoning, "learn the reasoning too; false: final answers only");
    v.number("epochs", epochs, config::between(1e-6, 1e6), "passes over the traces (R1: 2)");
    v.integer("batch_size", batch_size, config::between(1, config::kMaxBatch), "traces per step (R1: 128, students 64)");
    v.integer("max_length", max_length, config::between(8, config::kMaxBatch),
              "tokens of prompt and completion; longer traces are left out and counted");
    v.number("stop_at_accuracy", stop_at_accuracy, config::between(0.0, 1.0),
             "end as soon as an evaluation (every eval.test_freq steps) finds at least this accuracy; 0: only after `epochs`");
    v.integer("test_freq", test_freq, config::between(-1, config::kMaxSteps),
              "steps between evaluations of this stage; -1: eval.test_freq");
    v.number("router_bias_update_rate", router_bias_update_rate, config::at_least(0.0), "gamma of the auxiliary-loss-free balancing");
    v.number("aux_loss_coeff", aux_loss_coeff, config::at_least(0.0), "alpha of the sequence-wise balance loss");
    v.section("optim", optim, "optimizer (R1: cosine 5e-5 to 5e-6)");
  }
};

/// Group relative policy optimisation and its relatives.
struct RlStage {
  static constexpr const char* kType = "rl";
  std::string model;
  std::string from;
  data::DataConfig data;
  text::PromptConfig prompt = {.name = "r1_zero_brief", .system_prompt = "", .examples = {}};
  generate::RlRolloutConfig rollout;
  int64_t train_batch_size = 32;
  int64_t ppo_mini_batch_size = 32;
  int64_t steps = 100;
  reward::RewardConfig rewards;
  std::string preference_model;
  int64_t test_freq = -1;
  rl::AlgorithmConfig algorithm;
  double router_bias_update_rate = 0.0;
  train::OptimConfig optim = {.lr = 3e-4};

  template <class Visitor>
  void visit(Visitor& v) {
    v.text("model", model, "preset of this stage's model where it is not model.preset");
    v.text("from", from, "stage whose model is the start; empty: random weights, or model.path");
    v.section("data", data, "questions");
    prompt.visit(v);
    v.section("rollout", rollout, "sampling");
    v.integer("train_batch_size", train_batch_size, config::between(1, config::kMaxBatch), "questions per rollout step");
    v.integer("ppo_mini_batch_size", ppo_mini_batch_size, config::between(1, config::kMaxBatch),
              "questions per optimizer step, each with its n answers");
    v.rule(ppo_mini_batch_size > 0 && train_batch_size % ppo_mini_batch_size == 0, "ppo_mini_batch_size",
           "a divisor of train_batch_size " + std::to_string(train_batch_size), std::to_string(ppo_mini_batch_size));
    v.integer("steps", steps, config::between(1, config::kMaxSteps), "rollout steps");
    v.section("rewards", rewards, "weights of the reward's components");
    v.text("preference_model", preference_model, "stage (reward_model) that scores general answers");
    v.rule(rewards.preference == 0.0 || !preference_model.empty(), "preference_model",
           "a reward_model stage when rewards.preference is above 0", "none");
    v.integer("test_freq", test_freq, config::between(-1, config::kMaxSteps),
              "steps between evaluations of this stage; -1: eval.test_freq");
    v.section("algorithm", algorithm, "objective");
    v.rule(algorithm.adv_estimator == "reinforce_plus_plus" || rollout.n > 1, "rollout.n", "at least 2 with a group baseline",
           std::to_string(rollout.n));
    v.rule(algorithm.adv_estimator != "reinforce_plus_plus" || !algorithm.filter_groups.enable || rollout.n > 1,
           "algorithm.filter_groups.enable", "false with one answer per question", "true");
    v.rule(rollout.temperature > 0.0, "rollout.temperature", "above 0 in RL", "0");
    v.rule(rollout.partial_rollout_tokens == 0 || algorithm.rollout_correction.rollout_is != "none" ||
               algorithm.rollout_correction.bypass_mode,
           "algorithm.rollout_correction.rollout_is",
           "token or sequence, or bypass_mode, with rollout.partial_rollout_tokens: answers are of several policies", "none");
    v.number("router_bias_update_rate", router_bias_update_rate, config::at_least(0.0),
             "gamma of the auxiliary-loss-free balancing; 0 in RL by default");
    v.section("optim", optim, "optimizer (R1: lr 3e-6)");
  }
};

/// Samples a policy and keeps what is right, well formed and readable, as traces (R1 section 2.3.3).
struct RejectionSamplingStage {
  static constexpr const char* kType = "rejection_sampling";
  std::string policy;
  data::DataConfig data;
  text::PromptConfig prompt = {.name = "r1_zero_brief", .system_prompt = "", .examples = {}};
  generate::RolloutConfig rollout = {.n = 4};
  int64_t questions = 512;
  int64_t max_per_question = 1;
  double min_language = 1.0;

  template <class Visitor>
  void visit(Visitor& v) {
    v.text("policy", policy, "stage whose model is sampled");
    v.rule(!policy.empty(), "policy", "the name of a stage", "none");
    v.section("data", data, "questions");
    prompt.visit(v, "prompt template under which the policy is sampled");
    v.section("rollout", rollout, "sampling");
    v.integer("questions", questions, config::between(1, config::kMaxBatch), "questions asked");
    v.integer("max_per_question", max_per_question, config::between(1, config::kMaxBatch), "correct answers kept per question");
    v.number("min_language", min_language, config::between(0.0, 1.0), "least language consistency of what is kept");
  }
};

/// A scalar-head model on the policy's own answers to general questions: pairs (helpful) and labels (safe), R1 section 3.1.
struct RewardModelStage {
  static constexpr const char* kType = "reward_model";
  std::string from;
  data::DataConfig data;
  text::PromptConfig prompt = {.name = "chat_think", .system_prompt = "", .examples = {}};
  generate::RolloutConfig rollout = {.n = 4};
  int64_t questions = 256;
  double epochs = 1;
  int64_t batch_size = 32;
  train::OptimConfig optim = {.lr = 1e-3};

  template <class Visitor>
  void visit(Visitor& v) {
    v.text("from", from, "stage whose model is sampled, and is the backbone that gets the scalar head");
    v.rule(!from.empty(), "from", "the name of a stage", "none");
    v.section("data", data, "general questions: HELPFUL ones make pairs, SAFETY ones labels");
    prompt.visit(v);
    v.section("rollout", rollout, "sampling of the answers that are compared");
    v.integer("questions", questions, config::between(1, config::kMaxBatch), "questions asked");
    v.number("epochs", epochs, config::between(1e-6, 1e6), "passes over the comparisons (R1: 1)");
    v.integer("batch_size", batch_size, config::between(1, config::kMaxBatch), "comparisons per step (R1: 256)");
    v.section("optim", optim, "optimizer (R1: 6e-6)");
  }
};

using StageBody = std::variant<PretrainStage, SftStage, RlStage, RejectionSamplingStage, RewardModelStage>;

struct StageConfig {
  std::string name;
  StageBody body;

  const char* type() const;

  template <class Visitor>
  void visit(Visitor& v) {
    v.text("name", name, "letters, digits, _ and -; names the stage's folder");
    v.rule(valid_name(name), "name", "1 to 64 letters, digits, _ or -", "\"" + name + "\"");
    v.variant("type", body, "what the stage does");
  }
  static bool valid_name(const std::string& name);
};

struct Recipe {
  RunSection run;
  ModelSection model;
  text::TokenizerConfig tokenizer;
  ClusterSection cluster;
  TrainerSection trainer;
  EvalSection eval;
  std::vector<StageConfig> stages;

  template <class Visitor>
  void visit(Visitor& v) {
    v.section("run", run, "this run");
    v.section("model", model, "the policy");
    v.section("tokenizer", tokenizer, "text to tokens");
    v.section("cluster", cluster, "how ranks are used");
    v.section("trainer", trainer, "batches, checkpoints");
    v.section("eval", eval, "what is measured at the end of each stage");
    v.list("stages", stages, "the recipe, in order");
  }
};

/// The tokenizer that the recipe's texts go through. InputError where tokenizer.type is "model" and model.path has none.
std::unique_ptr<text::Tokenizer> recipe_tokenizer(const Recipe& recipe);

/// Names of the stages a stage depends on, in order of appearance.
std::vector<std::string> stage_inputs(const StageConfig& stage);

/// The stage of this name; null where there is none.
const StageConfig* find_stage(const Recipe& recipe, const std::string& name);

/// Shape of the model that a stage trains or samples: its own `model`; without one, the model of the stage it starts from (`from`,
/// `policy`); without that, model.path or model.preset. The vocabulary is the tokenizer's where a preset has none of its own.
/// InputError for an unknown preset or an unreadable config.json. The stage's inputs must come before it (check_recipe).
model::Architecture stage_architecture(const Recipe& recipe, const StageConfig& stage);

/// Problems that relate stages to each other or to the machine: names used twice, missing, later or of the wrong type, cycles, no stage at
/// all, models that do not fit, templates and questions that the tokenizer cannot write, files that are missing or hold bad rows, lengths
/// beyond the model's positions, ranks that cannot be split as asked or do not divide trainer.reduction_slots. Lines come from `places`;
/// bad rows are named by their own file and line. Empty: fine. `ranks` 0: not known. Reads every data file once. Does not communicate.
std::vector<std::string> check_recipe(const Recipe& recipe, const config::Places& places, int ranks);

/// Content hash of every stage, in order: its config, the sections and settings that change its result, the bytes of the files it reads,
/// the recipe version (recipe.cpp), and the hashes of its inputs. What only changes speed or bookkeeping (cluster, micro_batch_size,
/// optimizer_sharding, parameter_sharding, recompute, max_num_seqs, kv_cache_gb, run.output, save_freq, keep_last, …) is left out; of
/// cluster only max_staleness counts, in rl. InputError when a file cannot be read.
std::vector<std::string> stage_hashes(const Recipe& recipe);

}  // namespace cohort::pipeline
