#include "launcher/cluster_work.h"

#include <algorithm>

#include "launcher/length_distribution.h"
#include "launcher/plan.h"

namespace cohort::launcher {
namespace {

using pipeline::Recipe;

/// The mean response where none is given, as a share of the longest.
constexpr double kMeanShare = 0.25;

class WorkReader {
 public:
  WorkReader(const Recipe& recipe, double mean, double ratio)
      : recipe_(recipe), tokenizer_(pipeline::recipe_tokenizer(recipe)), mean_(mean), ratio_(ratio) {}

  StageWork read(const pipeline::StageConfig& stage) {
    work_ = {};
    work_.name = stage.name;
    work_.type = stage.type();
    work_.shape = pipeline::stage_architecture(recipe_, stage);
    work_.precision.weights = recipe_.model.dtype == "bf16" ? 2 : 4;
    work_.micro_batch = recipe_.trainer.micro_batch_size;
    std::visit([this](const auto& body) { fill(body); }, stage.body);
    return work_;
  }

 private:
  void set_lengths(const PromptLengths& prompts, int64_t longest) {
    work_.prompt_longest = prompts.longest;
    work_.prompt_mean = static_cast<double>(prompts.mean);
    work_.response_longest = longest;
    const auto most = static_cast<double>(longest);
    work_.response_mean = mean_ > 0.0 ? std::min(mean_, most) : std::max(1.0, most * kMeanShare);
    work_.square_ratio = ratio_ > 0.0 ? ratio_ : LengthDistribution{work_.response_mean, most}.square_ratio();
  }

  void set_sampling(const generate::RolloutConfig& rollout, int64_t questions, const PromptLengths& prompts) {
    work_.questions = questions;
    work_.answers = rollout.n;
    work_.max_num_seqs = rollout.max_num_seqs;
    set_lengths(prompts, rollout.max_response_length);
  }

  void fill(const pipeline::PretrainStage& body) {
    const auto [prompt, completion] = document_lengths(recipe_, *tokenizer_, body);
    work_.sequences = body.batch_size;
    work_.prompt_longest = prompt;
    work_.prompt_mean = static_cast<double>(prompt);
    work_.response_longest = completion;
    work_.response_mean = static_cast<double>(completion);
  }

  void fill(const pipeline::SftStage& body) {
    work_.sequences = body.batch_size;
    set_lengths({}, body.max_length);
  }

  void fill(const pipeline::RlStage& body) {
    set_sampling(body.rollout, body.train_batch_size, prompt_lengths(recipe_, *tokenizer_, body.data, body.prompt));
    work_.sequences = body.train_batch_size * body.rollout.n;
    work_.passes = body.algorithm.ppo_epochs;
    work_.optimizer_steps = body.train_batch_size / body.ppo_mini_batch_size;
    work_.old_logprobs = work_.optimizer_steps * work_.passes > 1 && !body.algorithm.rollout_correction.bypass_mode;
    work_.reference = body.algorithm.needs_reference();
    if (!body.preference_model.empty())
      work_.reward_model = pipeline::stage_architecture(recipe_, *pipeline::find_stage(recipe_, body.preference_model));
  }

  void fill(const pipeline::RejectionSamplingStage& body) {
    set_sampling(body.rollout, body.questions, prompt_lengths(recipe_, *tokenizer_, body.data, body.prompt));
  }

  /// The comparisons are trained; that the policy is sampled once, before, is in the memory.
  void fill(const pipeline::RewardModelStage& body) {
    set_lengths(prompt_lengths(recipe_, *tokenizer_, body.data, body.prompt), body.rollout.max_response_length);
    work_.sequences = 2 * body.batch_size;
    work_.sampled_policy = true;
  }

  const Recipe& recipe_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
  double mean_, ratio_;
  StageWork work_;
};

}  // namespace

std::vector<StageWork> cluster_work(const Recipe& recipe, double mean_response, double square_ratio) {
  WorkReader reader(recipe, mean_response, square_ratio);
  std::vector<StageWork> all;
  for (const pipeline::StageConfig& stage : recipe.stages) all.push_back(reader.read(stage));
  return all;
}

}  // namespace cohort::launcher
