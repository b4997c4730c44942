#pragma once
/// What a recipe would do, without doing it.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/pipeline/recipe.h"
#include "launcher/memory_plan.h"

namespace cohort::launcher {

/// One rollout step of an RL stage, over all ranks. Upper bounds: answers may be shorter than max_response_length.
struct StepPlan {
  int64_t prompt_tokens = 0;    ///< read once per question; a mean over questions that were looked at
  int64_t sampled_tokens = 0;   ///< in one round of sampling
  int64_t sampling_rounds = 1;  ///< at most (dynamic sampling)
  int64_t trained_tokens = 0;   ///< over all passes
  int64_t optimizer_steps = 0;
  int64_t gradient_bytes_sent = 0;  ///< per rank that trains, and optimizer step
};

/// A question as the model sees it, its own worked answer, and what that would earn.
struct ExamplePlan {
  std::string source;
  std::string prompt;
  std::string completion;
  int64_t prompt_tokens = 0;      ///< loss mask 0
  int64_t completion_tokens = 0;  ///< loss mask 1
  std::vector<records::RewardComponent> rewards;
  double total_reward = 0.0;
};

struct StagePlan {
  std::string name;
  std::string type;
  std::string family;  ///< model_type of the architecture
  int64_t parameters = 0;
  int64_t activated_parameters = 0;
  MemoryPlan memory;
  std::optional<StepPlan> step;        ///< rl
  std::optional<ExamplePlan> example;  ///< rl
};

/// In tokens, over the first questions of a set.
struct PromptLengths {
  int64_t longest = 0;
  int64_t mean = 0;
};
PromptLengths prompt_lengths(const pipeline::Recipe& recipe, const text::Tokenizer& tokenizer, const data::DataConfig& data,
                             const text::PromptConfig& prompt);

/// Longest prompt and completion of the first documents of a pretraining corpus.
std::pair<int64_t, int64_t> document_lengths(const pipeline::Recipe& recipe, const text::Tokenizer& tokenizer,
                                             const pipeline::PretrainStage& stage);

/// One entry per stage. With trainer.parameter_sharding: full, when weights are whole while answers are sampled and in pieces while they
/// are trained on, memory is that of the larger of the two. What saving takes is not counted. The recipe must have passed check_recipe with
/// this number of ranks. In placement split the memory of an RL stage is an upper bound for each rank: none both trains and rolls out.
std::vector<StagePlan> make_plan(const pipeline::Recipe& recipe, int ranks);

}  // namespace cohort::launcher
