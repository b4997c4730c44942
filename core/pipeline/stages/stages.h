#pragma once
/// The stage types. Each runs to its end, or throws Stopped after a checkpoint; all are collective. To add one: a config struct in
/// recipe.h, a function here, its file beside the others, a line in run_stage().

#include "core/pipeline/stage_context.h"

namespace cohort::pipeline {

StageOutput run_pretrain(const StageContext& context, const PretrainStage& stage);
StageOutput run_sft(const StageContext& context, const SftStage& stage);
StageOutput run_rl(const StageContext& context, const RlStage& stage);
StageOutput run_rejection_sampling(const StageContext& context, const RejectionSamplingStage& stage);
StageOutput run_reward_model(const StageContext& context, const RewardModelStage& stage);

/// By the type of the stage's body.
StageOutput run_stage(const StageContext& context);

}  // namespace cohort::pipeline
