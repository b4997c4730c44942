#pragma once
/// The samples of one rollout, from groups to what the loss needs.

#include <ATen/core/Tensor.h>

#include <map>
#include <vector>

#include "core/base/metrics.h"
#include "core/generate/version_runs.h"
#include "core/model/logprobs.h"
#include "core/pipeline/recipe.h"
#include "core/records/records.pb.h"
#include "core/rl/aggregation.h"
#include "core/rl/grpo_loss.h"
#include "core/rl/packed.h"

namespace cohort::pipeline {

/// A sample this member trains, with what belongs to each of its tokens.
struct TrainSample {
  model::Completion tokens;
  std::vector<float> rollout_logprob, old_logprob, ref_logprob;  ///< old and ref may be empty: not needed
  std::vector<double> advantage;
  bool truncated = false;
};

/// The samples of one group, in sample order.
using TrainGroup = std::vector<TrainSample>;

TrainGroup to_train_group(const records::Group& group);

/// Samples laid end to end.
struct PackedSamples {
  std::vector<model::Completion> tokens;
  rl::Packing packing;
  at::Tensor rollout_logprob_N, old_logprob_N, ref_logprob_N;  ///< old and ref undefined where the samples have none
  at::Tensor advantage_N;
  at::Tensor truncated_B;
};
PackedSamples pack_samples(const std::vector<const TrainSample*>& samples);

/// Forward pass and loss of a micro-batch. `scale` is that of the whole batch, so the losses of its micro-batches add up.
struct RlLoss {
  at::Tensor loss;  ///< scalar with gradient
  rl::LossMetrics metrics;
  at::Tensor logprob_N;  ///< of the policy as it is, without gradient
};
RlLoss rl_loss(const RlStage& stage, model::CausalLM& policy, const PackedSamples& samples, int64_t vocab_limit,
               const rl::AggregationScale& scale, model::MoeTrace* trace);

/// reward/*, critic/*, response_length/*, verifier/* over a rollout's summaries.
void add_reward_metrics(const std::vector<records::Group>& summaries, Metrics& metrics);

/// Removes groups with a sample whose oldest weights are more than `max_staleness` RL steps older than `step`, which would train on it;
/// returns how many.
int64_t drop_stale(std::vector<records::Group>& summaries, uint64_t step, uint64_t max_staleness);

/// What a whole group that a checkpoint kept must keep to before it is trained on or gone on with.
struct RestoredLimits {
  int64_t answers;              ///< of a group, at most
  int64_t max_response_length;  ///< tokens of an answer
  int64_t vocabulary;           ///< token ids are below it
  int64_t positions;            ///< for a prompt and the longest answer
};

/// Fault naming the group, and the answer where it is one, unless it keeps to `limits`, its answers are different ones, each with as many
/// log-probabilities as tokens, and the version runs fit (generate::require_version_runs).
void require_restored(const records::Group& group, const RestoredLimits& limits);

using generate::PolicyAge;

/// Takes from `batch.chosen` the groups with tokens of other weights than those `published`, which the batch was to be sampled with;
/// returns how many. Fault when an answer's versions do not ascend.
int64_t reject_other_weights(records::RolloutBatch& batch, const std::vector<PolicyAge>& published);

/// rollout/carried_groups, rollout/new_questions, and of the answers that are trained on rollout/partial_fraction: the share with tokens of
/// more than one version.
void add_partial_metrics(const records::RolloutBatch& batch, const std::vector<records::Group>& summaries, Metrics& metrics);

/// staleness/mean and /max over the tokens, in RL steps, and staleness/dropped_groups.
void add_staleness_metrics(const std::vector<records::Group>& summaries, uint64_t step, int64_t dropped, Metrics& metrics);

}  // namespace cohort::pipeline
