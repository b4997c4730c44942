// Recipes that must not run: each breaks one thing in a good one, and every problem is named with its line.

#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/config/yaml_reader.h"
#include "core/model/weights_io.h"
#include "core/pipeline/stage_graph.h"
#include "launcher/run_config.h"
#include "tests/core/base/temp_dir.h"
#include "tests/support/golden.h"

namespace cohort::launcher {
namespace {

using Lines = std::vector<std::string>;

const Lines kGood = {
    "run: {name: test, output: runs/test}",       // 1
    "model: {preset: dense_tiny}",                // 2
    "trainer: {reduction_slots: 4}",              // 3
    "eval:",                                      // 4
    "  data: {tasks: [add:1]}",                   // 5
    "stages:",                                    // 6
    "  - name: base",                             // 7
    "    type: pretrain",                         // 8
    "    data: {tasks: [add:1]}",                 // 9
    "    steps: 10",                              // 10
    "  - name: zero",                             // 11
    "    type: rl",                               // 12
    "    from: base",                             // 13
    "    data:",                                  // 14
    "      tasks: [add:1]",                       // 15
    "    template: r1_zero_brief",                // 16
    "    rollout:",                               // 17
    "      n: 4",                                 // 18
    "      max_response_length: 64",              // 19
    "    train_batch_size: 8",                    // 20
    "    ppo_mini_batch_size: 4",                 // 21
    "    rewards: {accuracy: 1.0}",               // 22
    "  - name: curated",                          // 23
    "    type: rejection_sampling",               // 24
    "    policy: zero",                           // 25
    "    data: {tasks: [add:1]}",                 // 26
    "  - name: sft",                              // 27
    "    type: sft",                              // 28
    "    from: base",                             // 29
    "    data:",                                  // 30
    "      from: [curated]",                      // 31
    "    max_length: 256",                        // 32
    "  - name: judge",                            // 33
    "    type: reward_model",                     // 34
    "    from: sft",                              // 35
    "    data: {tasks: [instruction:1]}",         // 36
    "  - name: final",                            // 37
    "    type: rl",                               // 38
    "    from: sft",                              // 39
    "    data: {tasks: [add:1, instruction:1]}",  // 40
    "    rewards:",                               // 41
    "      preference: 1.0",                      // 42
    "    preference_model: judge",                // 43
};

/// The good recipe with other lines in the place of some.
std::string with(const std::map<size_t, std::string>& edits) {
  std::string text;
  for (size_t i = 0; i < kGood.size(); ++i) {
    const auto edit = edits.find(i + 1);
    text += (edit == edits.end() ? kGood[i] : edit->second) + "\n";
  }
  return text;
}

Lines problems(const std::string& text, const Lines& settings = {}, int ranks = 2) {
  try {
    read_recipe(text, "c.yaml", settings, ranks);
  } catch (const InputError& error) {
    return error.problems();
  }
  return {};
}

struct Broken {
  const char* what;
  std::map<size_t, std::string> edits;
  Lines expected;
};

void check_all(const std::vector<Broken>& cases) {
  for (const Broken& broken : cases) {
    INFO(broken.what);
    CHECK(problems(with(broken.edits)) == broken.expected);
  }
}

TEST_CASE("the recipe that the others are made from is good") {
  CHECK(problems(with({})) == Lines{});
  const pipeline::Recipe recipe = read_recipe(with({}), "c.yaml", {"run.seed=3"}, 4);
  CHECK(recipe.stages.size() == 6);
  CHECK(recipe.run.seed == 3);
}

TEST_CASE("keys and values that are not what they should be") {
  check_all({
      {"unknown key",
       {{20, "    train_batch_sise: 8"}},
       {"c.yaml:20: stages.zero.train_batch_sise: unknown key, did you mean 'train_batch_size'?"}},
      {"unknown section", {{3, "trainr: {reduction_slots: 4}"}}, {"c.yaml:3: trainr: unknown key, did you mean 'trainer'?"}},
      {"key of another type of stage",
       {{10, "    ppo_mini_batch_size: 4"}},
       {"c.yaml:10: stages.base.ppo_mini_batch_size: unknown key, expected one of name, type, model, from, data, mixture, eval_template, "
        "steps, batch_size, router_bias_update_rate, aux_loss_coeff, optim"}},
      {"misspelt type",
       {{12, "    type: lr"}},
       {"c.yaml:12: stages.zero.type: expected one of pretrain, sft, rl, rejection_sampling, reward_model (did you mean 'rl'?), found lr"}},
      {"missing type",
       {{8, "    eval_template: chat"}},
       {"c.yaml:7: stages.base.type: expected one of pretrain, sft, rl, rejection_sampling, reward_model, found nothing"}},
      {"duplicate key",
       {{21, "    train_batch_size: 16"}},
       {"c.yaml:11: stages.zero.ppo_mini_batch_size: expected a divisor of train_batch_size 8, found 32",
        "c.yaml:21: stages.1.train_batch_size: expected each key once, found it again (first on line 20)"}},
      {"anchor", {{17, "    rollout: &r"}}, {"c.yaml:17: stages.1.rollout: expected a value without an anchor, found an anchor"}},
      {"alias", {{22, "    rewards: *r"}}, {"c.yaml:22: expected YAML, found: the referenced anchor is not defined"}},
      {"merge key", {{22, "    <<: {rewards: {accuracy: 1.0}}"}}, {"c.yaml:22: stages.1.<<: expected a key, found a merge key"}},
      {"tag", {{18, "      n: !!int 4"}}, {"c.yaml:18: stages.1.rollout.n: expected a value without a tag, found a tag"}},
      {"not a number",
       {{22, "    rewards: {accuracy: .nan}"}},
       {"c.yaml:22: stages.zero.rewards.accuracy: expected a number at least 0, found .nan"}},
      {"octal", {{18, "      n: 010"}}, {"c.yaml:18: stages.zero.rollout.n: expected an integer between 1 and 65536, found 010"}},
      {"negative batch",
       {{20, "    train_batch_size: -8"}},
       {"c.yaml:20: stages.zero.train_batch_size: expected an integer between 1 and 16777216, found -8"}},
      {"fraction for an integer",
       {{10, "    steps: 2.5"}},
       {"c.yaml:10: stages.base.steps: expected an integer between 1 and 2147483648, found 2.5"}},
      {"text for a section",
       {{17, "    rollout: fast"}, {18, ""}, {19, ""}},
       {"c.yaml:17: stages.zero.rollout: expected a mapping, found fast"}},
      {"list for text", {{13, "    from: [base]"}}, {"c.yaml:13: stages.zero.from: expected text, found a list"}},
      {"yes for true",
       {{22, "    algorithm: {use_kl_loss: yes}"}},
       {"c.yaml:22: stages.zero.algorithm.use_kl_loss: expected true or false, found yes"}},
      {"out of range", {{18, "      top_p: 1.5"}}, {"c.yaml:18: stages.zero.rollout.top_p: expected a number between 0 and 1, found 1.5"}},
      {"unknown choice",
       {{2, "model: {preset: dense_tini}"}},
       {"c.yaml:2: model.preset: expected one of deepseek_v3_tiny, dense_tiny, calibration_a, calibration_b, deepseek_v3 (did you mean "
        "'dense_tiny'?), found dense_tini"}},
      {"unknown template",
       {{16, "    template: r1_zero_breif"}},
       {"c.yaml:16: stages.zero.template: expected r1_zero, r1_zero_brief, chat, chat_think, plain, model, model_boxed, model_gsm8k, "
        "model_think, model_r1, found r1_zero_breif"}},
      {"tab as indentation", {{18, "\tn: 4"}}, {"c.yaml:18: expected spaces as indentation, found a tab"}},
      {"second document", {{23, "---\nstages: []"}}, {"c.yaml:23: expected one document, found a second"}},
      {"nothing at all", {{6, "x: [1, 2"}}, {"c.yaml:7: expected YAML, found: end of sequence flow not found"}},
  });
}

TEST_CASE("values that do not go together") {
  check_all({
      {"minibatches that do not divide the batch",
       {{21, "    ppo_mini_batch_size: 3"}},
       {"c.yaml:21: stages.zero.ppo_mini_batch_size: expected a divisor of train_batch_size 8, found 3"}},
      {"partial rollouts of answers that may not be stale",
       {{18, "      n: 4\n      partial_rollout_tokens: 16\n      oversample: 1.5"}},
       {"c.yaml:19: stages.zero.rollout.partial_rollout_tokens: expected 0 unless cluster.max_staleness is at least 1, found 16"}},
      {"partial rollouts that carry nothing",
       {{18, "      n: 4\n      partial_rollout_tokens: 16"}},
       {"c.yaml:17: stages.zero.rollout.oversample: expected above 1 with partial_rollout_tokens: otherwise nothing is carried, found 1",
        "c.yaml:19: stages.zero.rollout.partial_rollout_tokens: expected 0 unless cluster.max_staleness is at least 1, found 16"}},
      {"oversampling without partial rollouts",
       {{18, "      oversample: 1.5"}},
       {"c.yaml:18: stages.zero.rollout.oversample: expected 1 without partial_rollout_tokens, found 1.5"}},
      {"oversampling by too much",
       {{18, "      oversample: 2.5"}},
       {"c.yaml:18: stages.zero.rollout.oversample: expected a number between 1 and 2, found 2.5"}},
      {"partial rollouts in the evaluation",
       {{5, "  data: {tasks: [add:1]}\n  rollout: {partial_rollout_tokens: 16}"}},
       {"c.yaml:6: eval.rollout.partial_rollout_tokens: unknown key, expected one of n, temperature, top_p, top_k, max_response_length, "
        "max_num_seqs, kv_cache_gb"}},
      {"partial rollouts in rejection sampling",
       {{26, "    data: {tasks: [add:1]}\n    rollout: {partial_rollout_tokens: 16}"}},
       {"c.yaml:27: stages.curated.rollout.partial_rollout_tokens: unknown key, expected one of n, temperature, top_p, top_k, "
        "max_response_length, max_num_seqs, kv_cache_gb"}},
      {"partial rollouts whose loss would not know who sampled",
       {{3, "cluster: {max_staleness: 1}"},
        {18, "      n: 4\n      partial_rollout_tokens: 16\n      oversample: 1.5"},
        {22, "    rewards: {accuracy: 1.0}\n    algorithm: {rollout_correction: {rollout_is: none}}"}},
       {"c.yaml:25: stages.zero.algorithm.rollout_correction.rollout_is: expected token or sequence, or bypass_mode, with "
        "rollout.partial_rollout_tokens: answers are of several policies, found none"}},
      {"partial rollouts in pieces longer than an answer",
       {{3, "cluster: {max_staleness: 1}"}, {18, "      n: 4\n      partial_rollout_tokens: 65\n      oversample: 1.5"}},
       {"c.yaml:19: stages.zero.rollout.partial_rollout_tokens: expected at most max_response_length 64, found 65"}},
      {"a group of one", {{18, "      n: 1"}}, {"c.yaml:18: stages.zero.rollout.n: expected at least 2 with a group baseline, found 1"}},
      {"greedy sampling in RL",
       {{18, "      temperature: 0"}},
       {"c.yaml:18: stages.zero.rollout.temperature: expected above 0 in RL, found 0"}},
      {"a loss that needs another aggregation",
       {{22, "    algorithm: {loss_mode: gspo}"}},
       {"c.yaml:22: stages.zero.algorithm.loss_agg_mode: expected seq-mean-token-mean with gspo, found token-mean"}},
      {"reduction slots that are no power of two",
       {{3, "trainer: {reduction_slots: 6}"}},
       {"c.yaml:3: trainer.reduction_slots: expected a power of two, found 6"}},
      {"tasks and a path",
       {{15, "      tasks: [add:1]\n      path: a.jsonl"}},
       {"c.yaml:15: stages.zero.data.tasks: expected tasks or a path, not both, found both"}},
      {"an overlong zone longer than the answer",
       {{22, "    rewards: {overlong: {enable: true, len: 65}}"}},
       {"c.yaml:22: stages.zero.rewards.overlong.len: expected at most rollout.max_response_length = 64, found 65"}},
      {"a preference that never counts",
       {{41, "    steps: 50\n    rewards:\n      preference_from_step: 50"}},
       {"c.yaml:43: stages.final.rewards.preference_from_step: expected below the stage's 50 steps, found 50"}},
      {"weights without a finite sum",
       {{40, "    data: {tasks: [add:1, instruction:1], weights: [1.0e308, 1.0e308]}"}},
       {"c.yaml:40: stages.final.data.weights: expected a finite sum, found one that is too large"}},
      {"counts beyond any memory",
       {{20, "    train_batch_size: 1000000000000000000"}},
       {"c.yaml:20: stages.zero.train_batch_size: expected an integer between 1 and 16777216, found 1000000000000000000"}},
      {"an answer longer than all numbers",
       {{19, "      max_response_length: 9223372036854775807"}},
       {"c.yaml:19: stages.zero.rollout.max_response_length: expected an integer between 1 and 16777216, found 9223372036854775807"}},
      {"a goal that nobody looks at",
       {{32, "    stop_at_accuracy: 0.5"}},
       {"c.yaml:32: stages.sft.stop_at_accuracy: expected 0 unless eval.test_freq is above 0, found 0.5"}},
      {"nothing to learn",
       {{31, "      max_traces: 5"}},
       {"c.yaml:30: stages.sft.data.from: expected stages with traces, or demonstrations_size above 0, found neither"}},
  });
  CHECK(problems(with({}), {}, 3) == Lines{"c.yaml:3: trainer.reduction_slots: expected a multiple of the 3 ranks (dp 3 x ep 1), found 4"});
  CHECK(problems(with({}), {}, 8) == Lines{"c.yaml:3: trainer.reduction_slots: expected a multiple of the 8 ranks (dp 8 x ep 1), found 4"});
}

TEST_CASE("parameters are sharded where the optimizer is") {
  CHECK(problems(with({}), {"trainer.parameter_sharding=full"}, 2) ==
        Lines{"command line: trainer.parameter_sharding: expected none unless optimizer_sharding is zero1, whose slices it shares, found "
              "full"});
  CHECK(problems(with({}), {"trainer.parameter_sharding=full", "trainer.optimizer_sharding=zero1"}, 2).empty());
  CHECK(problems(with({}), {"trainer.parameter_sharding=some"}, 2).size() == 1);
}

TEST_CASE("ranks share experts where both can be divided, and where there are any") {
  const std::map<size_t, std::string> mixture = {{2, "model: {preset: deepseek_v3_tiny}"}, {3, "cluster: {expert_parallel_size: 3}"}};
  CHECK(problems(with(mixture), {}, 4) == Lines{"c.yaml:3: cluster.expert_parallel_size: expected a divisor of the 4 ranks, found 3",
                                                "c.yaml:3: cluster.expert_parallel_size: expected a divisor of the model's 8 routed "
                                                "experts, found 3"});
  CHECK(problems(with(mixture), {"cluster.expert_parallel_size=16"}, 0) ==
        Lines{"command line: cluster.expert_parallel_size: expected a divisor of the model's 8 routed experts, found 16"});
  CHECK(problems(with(mixture), {"cluster.expert_parallel_size=2"}, 4).empty());
  CHECK(problems(with(mixture), {"cluster.expert_parallel_size=4"}, 2) ==
        Lines{"command line: cluster.expert_parallel_size: expected a divisor of the 2 ranks, found 4"});
  CHECK(problems(with({}), {"cluster.expert_parallel_size=2"}, 2) ==
        Lines{"command line: cluster.expert_parallel_size: expected 1, because no stage's model has experts, found 2"});
  CHECK(problems(with(mixture), {"cluster.expert_parallel_size=2", "trainer.reduction_slots=2"}, 4) ==
        Lines{"command line: trainer.reduction_slots: expected a multiple of the 4 ranks (dp 2 x ep 2), found 2"});
}

TEST_CASE("a graph with many paths is checked as fast as one with few") {
  // Each pair of stages learns from both of the next pair: the number of paths doubles with every pair.
  std::string text = "model: {preset: dense_tiny}\neval: {data: {tasks: [add:1]}}\nstages:\n";
  constexpr int kPairs = 60;
  for (int pair = 0; pair < kPairs; ++pair)
    for (const char* side : {"a", "b"})
      text += "  - {name: " + std::string(side) + std::to_string(pair) + ", type: sft, data: {from: [a" + std::to_string(pair + 1) + ", b" +
              std::to_string(pair + 1) + "]}}\n";
  CHECK(problems(text).size() >= size_t{2} * kPairs);
}

TEST_CASE("ranks that cannot be split as asked") {
  const auto split = [](const std::string& ranks) {
    return with({{3, "trainer: {reduction_slots: 4}\ncluster: {placement: split" + ranks + "}"}});
  };
  CHECK(problems(split(", rollout_ranks: 2"), {}, 4) == Lines{});
  CHECK(problems(split(", rollout_ranks: 2, max_staleness: 1"), {}, 3) == Lines{});
  CHECK(problems(split(", rollout_ranks: 2"), {}, 0) == Lines{});
  CHECK(problems(split(""), {}, 4) == Lines{"c.yaml:4: cluster.rollout_ranks: expected at least 1 with placement split, found 0"});
  CHECK(problems(split(", rollout_ranks: 4"), {}, 4) ==
        Lines{"c.yaml:4: cluster.rollout_ranks: expected less than the 4 ranks, so that at least 1 trains, found 4"});
  CHECK(problems(split(", rollout_ranks: 1"), {}, 1) ==
        Lines{"c.yaml:4: cluster.rollout_ranks: expected less than the 1 rank, so that at least 1 trains, found 1"});
  CHECK(problems(split(", rollout_ranks: 1"), {}, 4) ==
        Lines{"c.yaml:3: trainer.reduction_slots: expected a multiple of the 3 ranks that train (4 ranks - 1 that roll out; dp 3 x ep 1), "
              "found 4"});
  CHECK(problems(split(", rollout_ranks: 1, max_staleness: 17"), {}, 2) ==
        Lines{"c.yaml:4: cluster.max_staleness: expected an integer between 0 and 16, found 17"});
  CHECK(problems(with({{3, "cluster: {rollout_ranks: 1}"}}), {}, 2) ==
        Lines{"c.yaml:3: cluster.rollout_ranks: expected 0 with placement colocated, found 1"});
}

TEST_CASE("a heartbeat that cannot be") {
  const auto heartbeat = [](const std::string& seconds) {
    return problems(with({{3, "cluster: {heartbeat_timeout_s: " + seconds + "}"}}), {}, 2);
  };
  CHECK(heartbeat("0").empty());
  CHECK(heartbeat("25").empty());
  CHECK(heartbeat("0.5") == Lines{"c.yaml:3: cluster.heartbeat_timeout_s: expected 0 or at least 1, found 0.5"});
  CHECK(heartbeat("-1") == Lines{"c.yaml:3: cluster.heartbeat_timeout_s: expected a number at least 0, found -1"});
}

TEST_CASE("stages that do not form a graph") {
  const std::string model = "expected a stage before this one that makes a model (pretrain, sft, rl), found ";
  check_all({
      {"misspelt stage",
       {{13, "    from: bsae"}},
       {"c.yaml:13: stages.zero.from: " + model + "\"bsae\", which is no stage; did you mean 'base'?"}},
      {"missing stage", {{25, "    policy: other"}}, {"c.yaml:25: stages.curated.policy: " + model + "\"other\", which is no stage"}},
      {"itself", {{13, "    from: zero"}}, {"c.yaml:13: stages.zero.from: " + model + "\"zero\", the stage itself: a cycle"}},
      {"a cycle",
       {{13, "    from: sft"}},
       {"c.yaml:13: stages.zero.from: " + model + "\"sft\", which itself depends on this stage: a cycle"}},
      {"a later stage",
       {{10, "    from: judge"}},
       {"c.yaml:10: stages.base.from: " + model + "\"judge\", which itself depends on this stage: a cycle"}},
      {"a later stage without a cycle",
       {{31, "      from: [curated, more]"},
        {43, kGood[42] + "\n  - {name: more, type: rejection_sampling, policy: zero, data: {tasks: [add:1]}}"}},
       {"c.yaml:31: stages.sft.data.from: expected a stage before this one that makes traces (rejection_sampling), found \"more\", which "
        "comes later"}},
      {"a model from traces",
       {{39, "    from: curated"}},
       {"c.yaml:39: stages.final.from: " + model + "\"curated\" of type rejection_sampling"}},
      {"a model from a reward model",
       {{39, "    from: judge"}},
       {"c.yaml:39: stages.final.from: " + model + "\"judge\" of type reward_model"}},
      {"traces from a policy",
       {{31, "      from: zero"}},
       {"c.yaml:31: stages.sft.data.from: expected a stage before this one that makes traces (rejection_sampling), found \"zero\" of type "
        "rl"}},
      {"preferences from a policy",
       {{43, "    preference_model: sft"}},
       {"c.yaml:43: stages.final.preference_model: expected a stage before this one that makes a reward model (reward_model), found "
        "\"sft\" of "
        "type sft"}},
      {"no preference model",
       {{43, ""}},
       {"c.yaml:37: stages.final.preference_model: expected a reward_model stage when rewards.preference is above 0, found none"}},
      {"a name twice",
       {{23, "  - name: base"}, {31, "      from: [base]"}},
       {"c.yaml:23: stages.base.name: expected each name once, found \"base\" again",
        "c.yaml:31: stages.sft.data.from: expected a stage before this one that makes traces (rejection_sampling), found \"base\" of type "
        "pretrain"}},
      {"a name that is no folder",
       {{7, "  - name: ../base"}},
       {"c.yaml:7: stages.../base.name: expected 1 to 64 letters, digits, _ or -, found \"../base\"",
        "c.yaml:13: stages.zero.from: " + model + "\"base\", which is no stage",
        "c.yaml:29: stages.sft.from: " + model + "\"base\", which is no stage"}},
      {"another shape than the model it starts from",
       {{16, "    model: deepseek_v3_tiny"}},
       {"c.yaml:16: stages.zero.model: expected nothing, or the shape of stage \"base\" that it starts from, found \"deepseek_v3_tiny\""}},
      {"an unknown model",
       {{10, "    model: dense_tin"}},
       {"c.yaml:10: stages.base.model: expected one of deepseek_v3_tiny, dense_tiny, calibration_a, calibration_b, deepseek_v3 (did you "
        "mean "
        "'dense_tiny'?), found \"dense_tin\""}},
  });
  CHECK(problems("run: {name: empty}\n") == Lines{"c.yaml:1: stages: expected at least one stage, found none"});
}

TEST_CASE("questions and models that do not fit or are not there") {
  check_all({
      {"unknown task",
       {{15, "      tasks: [ad:1]"}},
       {"c.yaml:15: stages.zero.data.tasks: expected one of add, countdown, sort, echo_digit, add2_reversed, word_problem, instruction, "
        "safety (did you "
        "mean add?), found \"ad:1\""}},
      {"a level that the task does not have",
       {{15, "      tasks: [add:5]"}},
       {"c.yaml:15: stages.zero.data.tasks: expected add:1 to add:4, found \"add:5\""}},
      {"no questions", {{15, "      size: 5"}}, {"c.yaml:14: stages.zero.data: expected tasks or a path, found neither"}},
      {"a missing file",
       {{15, "      path: /nowhere/train.jsonl"}},
       {"c.yaml:15: stages.zero.data.path: expected an existing file, folder or pattern, found \"/nowhere/train.jsonl\""}},
      {"pretraining on a file",
       {{9, "    data: {path: /nowhere/train.jsonl}"}},
       {"c.yaml:9: stages.base.data.path: expected generated tasks for pretraining, found \"/nowhere/train.jsonl\""}},
      {"a reward model of reasoning questions",
       {{36, "    data: {tasks: [instruction:1, add:1]}"}},
       {"c.yaml:36: stages.judge.data.tasks: expected general questions (tasks instruction, safety), found add"}},
      {"nothing to ask at the end of a stage without questions",
       {{5, "  questions: 10"}},
       {"c.yaml:4: eval.data: expected tasks or a path, because stage \"sft\" has no questions of its own, found neither"}},
      {"an answer longer than the model's positions",
       {{19, "      max_response_length: 512"}},
       {"c.yaml:19: stages.zero.rollout.max_response_length: expected prompt and answer within the model's 512 positions, found 29 + 512 "
        "tokens"}},
      {"an answer of the evaluation longer than the model's positions",
       {{4, "eval: {rollout: {max_response_length: 500}}"},
        {5, ""},
        {30, "    data:\n      demonstrations: {tasks: [add:1]}\n      demonstrations_size: 9"}},
       {"c.yaml:4: eval.rollout.max_response_length: expected prompt and answer within the model's 512 positions, found 29 + 500 tokens"}},
      {"traces longer than the model's positions",
       {{32, "    max_length: 513"}},
       {"c.yaml:32: stages.sft.max_length: expected at most the model's 512 positions, found 513"}},
      {"a model folder that is not there",
       {{2, "model: {path: /nowhere/model}"}},
       {"c.yaml:2: model.path: expected a folder with config.json and safetensors files, found \"/nowhere/model\", which is none"}},
      {"a run folder that is a file",
       {{1, "run: {output: /etc/hostname}"}},
       {"c.yaml:1: run.output: expected a folder, found the file \"/etc/hostname\""}},
  });
}

TEST_CASE("texts that the tokenizer cannot write") {
  const std::string chars = "tokenizer: {type: chars}\n";
  const std::string stage = "stages:\n  - name: a\n    type: rl\n    rollout: {max_response_length: 8}\n";
  CHECK(problems(chars + stage + "    template: plain\n    data: {tasks: [add2_reversed:1]}\n") == Lines{});
  CHECK(problems(chars + stage + "    template: chat\n    data: {tasks: [add2_reversed:1]}\n") ==
        Lines{"c.yaml:6: stages.a.template: expected a template that the tokenizer can write, found chat (template: expected a tokenizer "
              "with the "
              "special token <|begin|>, found none; template chat needs it)"});
  CHECK(
      problems(chars + stage + "    template: plain\n    data: {tasks: [add:1]}\n", {"run.seed=17"}) ==
      Lines{"c.yaml:7: stages.a.data.tasks: expected questions that the tokenizer can write, found tokenizer.alphabet: expected letters of "
            "\"0123456789+=\", found \"求5加6。\""});
  CHECK(problems("tokenizer: {type: chars, alphabet: aa}\n" + stage + "    data: {tasks: [add:1]}\n    from: b\n") ==
        Lines{"c.yaml:1: tokenizer.alphabet: expected 1 to 94 distinct printable ASCII characters, found \"aa\"",
              "c.yaml:7: stages.a.from: expected a stage before this one that makes a model (pretrain, sft, rl), found \"b\", which is no "
              "stage"});
}

/// A small model with a tokenizer of its own.
void write_published_model(const TempDir& folder) {
  model::Architecture architecture = model::architecture_preset("calibration_a");
  architecture.vocab_size = 800;
  model::save_model(model::CausalLM(architecture, 1), folder.path());
  const auto golden = nlohmann::json::parse(read_file(test::golden_path("text/bpe_qwen2.json"), 1 << 20));
  std::ofstream(folder / "tokenizer.json") << golden["tokenizer"].dump();
  std::ofstream(folder / "tokenizer_config.json") << R"({"eos_token": "<|im_end|>"})";
}

TEST_CASE("rows that the model's chat template refuses are named, or left out as bad ones") {
  const TempDir folder;
  write_published_model(folder);
  std::ofstream(folder / "chat_template.jinja")
      << "{% if messages[0].role == 'system' %}{{ raise_exception('no system messages') }}{% endif %}{{ messages[0].content }}";
  const std::string rows = folder / "rows.jsonl";
  std::ofstream(rows) << R"({"prompt": "1+1?", "answer": "2"})"
                      << "\n"
                      << R"({"prompt": [{"role": "system", "content": "S"}, {"role": "user", "content": "1+2?"}], "answer": "3"})"
                      << "\n";
  const std::string recipe = "tokenizer: {type: model}\nmodel: {path: " + folder.path() +
                             "}\neval: {data: {tasks: [add:1]}}\nstages:\n  - name: a\n    type: rl\n    template: model\n"
                             "    rollout: {max_response_length: 8}\n    data:\n      path: " +
                             rows + "\n";
  const Lines found = problems(recipe);
  REQUIRE(found.size() == 1);
  CHECK_THAT(found[0],
             Catch::StartsWith("c.yaml:10: stages.a.data.path: expected questions that the tokenizer can write, found " + rows + ":2: ") &&
                 Catch::EndsWith("no system messages"));
  CHECK(problems(recipe, {"stages.a.data.skip_bad_rows=true"}) == Lines{});
  const Lines counted = problems(recipe, {"stages.a.data.max_prompt_length=100"});
  REQUIRE(counted.size() == 1);
  CHECK_THAT(counted[0], Catch::StartsWith(rows + ":2: ") && Catch::EndsWith("no system messages"));
}

TEST_CASE("the tokenizer of a published model is the one of its folder") {
  const TempDir folder;
  write_published_model(folder);
  const std::string path = "model: {path: " + folder.path() + "}\n";
  const std::string stage =
      "stages:\n  - name: a\n    type: rl\n    template: plain\n    rollout: {max_response_length: 8}\n    data: {tasks: [add:1]}\n";
  CHECK(problems("tokenizer: {type: model}\n" + path + stage) == Lines{});
  CHECK(problems(path + stage) ==
        Lines{"c.yaml:1: tokenizer.type: expected model, because the model of model.path has a tokenizer.json, found bytes"});
  CHECK(problems("tokenizer: {type: model}\n" + stage) ==
        Lines{"c.yaml:1: tokenizer.type: expected bytes or chars where no model.path is set, found model"});
  const std::string all = "tokenizer: {type: model}\n" + path + stage;
  const auto hash = [&] { return pipeline::stage_hashes(config::read_config_text<pipeline::Recipe>(all, "c.yaml")); };
  const auto before = hash();
  std::ofstream(folder / "tokenizer_config.json") << R"({"eos_token": "<think>"})";
  CHECK(hash() != before);  // another tokenizer is another result
  std::ofstream(folder / "tokenizer.json") << "{";
  CHECK_THAT(problems(all).front(), Catch::Contains("tokenizer.json: expected JSON"));
}

/// Puts COHORT_DATA back for the tests that come after.
class KeepDataFolder {
 public:
  KeepDataFolder() {
    const char* value = std::getenv("COHORT_DATA");
    if (value != nullptr) value_ = value;
  }
  ~KeepDataFolder() { value_ ? setenv("COHORT_DATA", value_->c_str(), 1) : unsetenv("COHORT_DATA"); }
  KeepDataFolder(const KeepDataFolder&) = delete;
  KeepDataFolder& operator=(const KeepDataFolder&) = delete;

 private:
  std::optional<std::string> value_;
};

TEST_CASE("data files that cannot be used are named by their own lines") {
  const KeepDataFolder keep;
  const TempDir folder;
  const auto data_of = [&](const std::string& path) { return with({{15, "      path: " + path}}); };
  std::ofstream(folder / "rows.jsonl") << R"({"question": "1+1?", "answer": "1+1=2\n#### 2"})"
                                          "\n"
                                       << R"({"question": "1+2?"})"
                                          "\n"
                                       << "nonsense\n";
  const Lines found = problems(data_of(folder / "rows.jsonl"));
  REQUIRE(found.size() == 2);
  CHECK_THAT(found[0], Catch::StartsWith(folder / "rows.jsonl:2: "));
  CHECK_THAT(found[1], Catch::StartsWith(folder / "rows.jsonl:3: "));
  CHECK(problems(data_of(folder / "rows.jsonl"), {"stages.zero.data.skip_bad_rows=true"}) == Lines{});

  unsetenv("COHORT_DATA");
  CHECK(problems(data_of("$COHORT_DATA/rows.jsonl")) ==
        Lines{"c.yaml:15: stages.zero.data.path: expected the environment variable COHORT_DATA to name a folder, found it unset"});
  setenv("COHORT_DATA", folder.path().c_str(), 1);
  CHECK(problems(data_of("$COHORT_DATA/rows.jsonl"), {"stages.zero.data.skip_bad_rows=true"}) == Lines{});
  CHECK(
      problems(data_of("$COHORT_DATA/missing.jsonl")) ==
      Lines{"c.yaml:15: stages.zero.data.path: expected an existing file, folder or pattern, found \"" + folder / "missing.jsonl" + "\""});
}

TEST_CASE("every problem is told at once, those of the file and those of the graph") {
  CHECK(
      problems(with({{2, "model: {preset: dense}"}, {13, "    from: bsae"}, {18, "      n: 0"}, {22, "    reward: {}"}}),
               {"stages.zero.steps=x", "run.sed=1"}, 3) ==
      Lines{"c.yaml:2: model.preset: expected one of deepseek_v3_tiny, dense_tiny, calibration_a, calibration_b, deepseek_v3, found dense",
            "c.yaml:18: stages.zero.rollout.n: expected an integer between 1 and 65536, found 0",
            "c.yaml:22: stages.zero.reward: unknown key, did you mean 'rewards'?",
            "command line: run.sed: unknown key, did you mean 'seed'?",
            "command line: stages.zero.steps: expected an integer between 1 and 2147483648, found x",
            "c.yaml:3: trainer.reduction_slots: expected a multiple of the 3 ranks (dp 3 x ep 1), found 4",
            "c.yaml:13: stages.zero.from: expected a stage before this one that makes a model (pretrain, sft, rl), found \"bsae\", which "
            "is no "
            "stage; did you mean 'base'?"});
  // Stages whose type is not known would make others look wrong.
  CHECK(problems(with({{8, "    type: pretrian"}, {13, "    from: bsae"}})).size() == 1);
}

TEST_CASE("settings of the command line are named as such") {
  CHECK(problems(with({}), {"stages.zero.from=curated"}) == Lines{"command line: stages.zero.from: expected a stage before this one that "
                                                                  "makes a model (pretrain, sft, rl), found \"curated\", which "
                                                                  "itself depends on this stage: a cycle"});
  CHECK(problems(with({}), {"stages.zreo.steps=3"}) ==
        Lines{"command line: stages: expected an element of the list, found 'zreo', did you mean 'zero'?"});
}

}  // namespace
}  // namespace cohort::launcher
