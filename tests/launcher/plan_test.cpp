#include "launcher/plan.h"

#include <catch2/catch.hpp>

#include "core/reward/reward.h"
#include "launcher/run_config.h"

namespace cohort::launcher {
namespace {

const char* const kRecipe = R"(
model: {preset: dense_tiny}
eval: {data: {tasks: [add:1]}}
stages:
  - {name: base, type: pretrain, data: {tasks: [add:1]}}
  - name: zero
    type: rl
    from: base
    data: {tasks: [add:2], languages: en}
    rollout: {n: 4, max_response_length: 64}
    train_batch_size: 8
    ppo_mini_batch_size: 4
    rewards: {accuracy: 1.0, format: 0.5, language: 0.25}
    algorithm: {use_kl_loss: true, ppo_epochs: 2}
  - {name: curated, type: rejection_sampling, policy: zero, data: {tasks: [add:1]}}
)";

const int64_t* find_part(const StagePlan& stage, const std::string& name) {
  for (const auto& [part, bytes] : stage.memory.parts)
    if (part == name) return &bytes;
  return nullptr;
}

TEST_CASE("an RL stage is planned: tokens per step, memory, a question with its reward") {
  const std::vector<StagePlan> plan = make_plan(read_recipe(kRecipe, "c.yaml", {}, 2), 2);
  REQUIRE(plan.size() == 3);
  const StagePlan& zero = plan[1];
  REQUIRE(zero.step);
  CHECK(zero.step->sampled_tokens == 8 * 4 * 64);
  CHECK(zero.step->trained_tokens == 2 * 8 * 4 * 64);
  CHECK(zero.step->optimizer_steps == 4);
  CHECK(zero.step->sampling_rounds == 10);
  CHECK(zero.step->gradient_bytes_sent == 4 * zero.parameters);
  REQUIRE(find_part(zero, "reference") != nullptr);
  CHECK(*find_part(zero, "reference") == 4 * zero.parameters);
  CHECK(*find_part(zero, "moments") == 8 * zero.parameters);
  CHECK(find_part(plan[0], "reference") == nullptr);
  CHECK(find_part(plan[0], "kv cache") != nullptr);  // of its evaluation
  CHECK(find_part(plan[2], "gradients") == nullptr);

  REQUIRE(zero.example);
  CHECK_THAT(zero.example->prompt, Catch::StartsWith("User: Add ") && Catch::EndsWith("\nAssistant:"));
  CHECK_THAT(zero.example->completion, Catch::StartsWith("<think>") && Catch::EndsWith("</answer><|end|>"));
  CHECK(zero.example->total_reward == Approx(1.75));
  CHECK(zero.example->prompt_tokens == static_cast<int64_t>(zero.example->prompt.size()));
  CHECK(zero.example->rewards.size() == 3);
}

TEST_CASE("more ranks need less cache each and send gradients") {
  const pipeline::Recipe recipe = read_recipe(kRecipe, "c.yaml", {}, 0);
  const StagePlan one = make_plan(recipe, 1)[1];
  const StagePlan four = make_plan(recipe, 4)[1];
  CHECK(one.step->gradient_bytes_sent == 0);
  CHECK(*find_part(one, "kv cache") == 4 * *find_part(four, "kv cache"));
  CHECK(*find_part(one, "weights") == *find_part(four, "weights"));
}

TEST_CASE("the cache that is planned is the larger of sampling and evaluation, within kv_cache_gb") {
  const auto cache = [](std::vector<std::string> settings) {
    return *find_part(make_plan(read_recipe(kRecipe, "c.yaml", settings, 0), 1)[1], "kv cache");
  };
  const int64_t own = cache({"eval.questions=1"});
  CHECK(cache({"eval.questions=1000", "eval.rollout.max_num_seqs=1000"}) > 10 * own);
  CHECK(cache({"eval.questions=1000", "eval.rollout.max_num_seqs=1000", "eval.rollout.kv_cache_gb=0"}) == own);
  CHECK(cache({"eval.questions=1", "stages.zero.rollout.kv_cache_gb=0"}) == own / 8);  // the 4 answers to one of 8 questions
}

TEST_CASE("sharding the optimizer divides the moments, recomputing leaves a layer's activations") {
  const StagePlan plain = make_plan(read_recipe(kRecipe, "c.yaml", {}, 0), 4)[1];
  const StagePlan sharded = make_plan(read_recipe(kRecipe, "c.yaml", {"trainer.optimizer_sharding=zero1"}, 0), 4)[1];
  const StagePlan again = make_plan(read_recipe(kRecipe, "c.yaml", {"trainer.recompute=layer"}, 0), 4)[1];
  CHECK(*find_part(plain, "moments") == 4 * *find_part(sharded, "moments"));
  CHECK(*find_part(plain, "activations") == *find_part(sharded, "activations"));
  CHECK(*find_part(plain, "activations") > *find_part(again, "activations"));
  CHECK(*find_part(plain, "moments") == *find_part(again, "moments"));
}

TEST_CASE("sharded parameters: the larger of training in pieces and sampling with all") {
  const std::vector<std::string> full = {"trainer.optimizer_sharding=zero1", "trainer.parameter_sharding=full"};
  const auto zero = [&](std::vector<std::string> settings, const std::vector<std::string>& more) {
    settings.insert(settings.end(), more.begin(), more.end());
    return make_plan(read_recipe(kRecipe, "c.yaml", settings, 0), 4)[1];
  };
  const StagePlan whole = zero({"trainer.optimizer_sharding=zero1"}, {}), training = zero(full, {});
  CHECK(*find_part(training, "weights") == *find_part(whole, "weights") / 4);
  CHECK(*find_part(training, "reference") == *find_part(whole, "reference") / 4);
  CHECK(*find_part(training, "gradients") == *find_part(whole, "gradients"));
  CHECK(*find_part(training, "gathered weights") > 0);
  CHECK(find_part(training, "kv cache") == nullptr);
  CHECK(training.memory.total() < whole.memory.total());

  const std::vector<std::string> small_step = {"trainer.micro_batch_size=1", "trainer.recompute=layer", "stages.zero.train_batch_size=512"};
  const StagePlan sampling = zero(full, small_step);
  CHECK(*find_part(sampling, "weights") == *find_part(whole, "weights"));
  CHECK(find_part(sampling, "gradients") == nullptr);
  CHECK(find_part(sampling, "kv cache") != nullptr);
  CHECK(sampling.memory.total() < zero({"trainer.optimizer_sharding=zero1"}, small_step).memory.total());
  // Alone there is nobody to divide with.
  const pipeline::Recipe recipe = read_recipe(kRecipe, "c.yaml", full, 0);
  CHECK(*find_part(make_plan(recipe, 1)[1], "weights") == *find_part(whole, "weights"));
}

}  // namespace
}  // namespace cohort::launcher
