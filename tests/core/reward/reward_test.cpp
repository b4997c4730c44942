#include "core/reward/reward.h"

#include <catch2/catch.hpp>

#include "core/base/error.h"
#include "core/config/yaml_reader.h"

using namespace cohort;
using namespace cohort::reward;

namespace {

const text::ByteTokenizer kBytes;

records::Group group_of(records::Category category, const std::string& verifier, const std::string& ground_truth,
                        const std::string& language = "en") {
  records::Group group;
  records::Question& question = *group.mutable_question();
  question.set_category(category);
  question.set_verifier(verifier);
  question.set_ground_truth(ground_truth);
  question.set_language(language);
  return group;
}

records::Sample sample_of(const std::vector<int32_t>& ids, records::FinishReason finish = records::STOP) {
  records::Sample sample;
  sample.mutable_response_ids()->Add(ids.begin(), ids.end());
  sample.set_finish_reason(finish);
  return sample;
}

records::Sample answered(const std::string& think, const std::string& answer) {
  return sample_of(text::render_completion(text::find_template("r1_zero"), kBytes, think, answer));
}

Scorer scorer(const RewardConfig& config, Preference preference = {}, const char* prompt_template = "r1_zero") {
  return Scorer(config, text::find_template(prompt_template), kBytes, 100, std::move(preference));
}

double value(const records::Sample& sample, const char* name) {
  const records::RewardComponent* component = find_component(sample, name);
  REQUIRE(component != nullptr);
  return component->value();
}

}  // namespace

TEST_CASE("reasoning: accuracy, format and language", "[reward]") {
  RewardConfig config;
  config.format = 0.5;
  config.language = 0.25;
  const records::Group group = group_of(records::REASONING, "number", "12");
  records::Sample sample = answered("one step 7+5=12 进", "12");
  scorer(config).score(group, sample);
  CHECK(sample.outcome() == records::CORRECT);
  CHECK(value(sample, "accuracy") == 1.0);
  CHECK(value(sample, "format") == 1.0);
  CHECK(value(sample, "language") == Approx(2.0 / 3.0));
  CHECK(sample.total_reward() == Approx(1.0 + 0.5 + 0.25 * 2.0 / 3.0));
  CHECK(find_component(sample, "safety") == nullptr);
  CHECK(find_component(sample, "preference") == nullptr);
  CHECK(find_component(sample, "overlong") == nullptr);
  scorer(config).score(group, sample);  // again: nothing piles up
  CHECK(sample.rewards_size() == 3);
  CHECK(sample.total_reward() == Approx(1.0 + 0.5 + 0.25 * 2.0 / 3.0));
}

TEST_CASE("language is recorded with weight 0", "[reward]") {
  records::Sample sample = answered("两步", "12");
  scorer({}).score(group_of(records::REASONING, "number", "12"), sample);
  CHECK(value(sample, "language") == 0.0);
  CHECK(sample.total_reward() == 2.0);
}

TEST_CASE("a right answer without its form has accuracy and no format", "[reward]") {
  const records::Group group = group_of(records::REASONING, "number", "12");
  records::Sample direct = sample_of(kBytes.encode("<answer>12</answer>"));
  direct.add_response_ids(kBytes.end_id());
  scorer({}).score(group, direct);
  CHECK(value(direct, "accuracy") == 1.0);
  CHECK(value(direct, "format") == 0.0);
  records::Sample bare = sample_of(kBytes.encode("12"));
  scorer({}).score(group, bare);
  CHECK(bare.outcome() == records::WRONG);
  CHECK(bare.total_reward() == 0.0);
}

TEST_CASE("a completion cut at the limit has no format", "[reward]") {
  const records::Group group = group_of(records::REASONING, "number", "12");
  records::Sample sample = answered("a", "12");
  sample.set_finish_reason(records::LENGTH);
  scorer({}).score(group, sample);
  CHECK(value(sample, "format") == 0.0);
  CHECK(value(sample, "accuracy") == 1.0);
  records::Sample empty = sample_of({}, records::LENGTH);
  scorer({}).score(group, empty);
  CHECK(empty.total_reward() == 0.0);
  CHECK(empty.outcome() == records::WRONG);
}

TEST_CASE("signed rewards punish wrong answers, never undecided ones", "[reward]") {
  RewardConfig config;
  config.reward_style = "signed";
  config.format = 0.0;
  const records::Group group = group_of(records::REASONING, "number", "12");
  records::Sample right = answered("a", "12");
  records::Sample wrong = answered("a", "13");
  records::Sample undecided = answered("a", std::string(65, '1'));
  for (records::Sample* sample : {&right, &wrong, &undecided}) scorer(config).score(group, *sample);
  CHECK(right.total_reward() == 1.0);
  CHECK(wrong.total_reward() == -1.0);
  CHECK(undecided.total_reward() == 0.0);
  CHECK(undecided.outcome() == records::UNDECIDED);
  CHECK_FALSE(scorer(config).dropped(undecided));
  config.undecided = "drop";
  CHECK(scorer(config).dropped(undecided));
  CHECK_FALSE(scorer(config).dropped(wrong));
}

TEST_CASE("general questions: helpfulness, preference from its step on, safety", "[reward]") {
  RewardConfig config;
  config.preference = 0.5;
  config.preference_from_step = 10;
  int calls = 0;
  const Preference preference = [&](const records::Group&, const records::Sample&) {
    ++calls;
    return 3.0;
  };
  records::Group helpful = group_of(records::HELPFUL, "instruction", "exact CAT");
  records::Sample sample = answered("big", "CAT");
  helpful.set_step(9);
  scorer(config, preference).score(helpful, sample);
  CHECK(value(sample, "helpfulness") == 1.0);
  CHECK(find_component(sample, "preference") == nullptr);
  CHECK(find_component(sample, "accuracy") == nullptr);
  CHECK(calls == 0);
  helpful.set_step(10);
  scorer(config, preference).score(helpful, sample);
  CHECK(value(sample, "preference") == 3.0);
  CHECK(sample.total_reward() == Approx(1.0 + 1.0 + 1.5));
  CHECK_THROWS_AS(scorer(config).score(helpful, sample), Fault);

  records::Sample refusing = answered("harm", "I can't help with that.");
  records::Group safety = group_of(records::SAFETY, "refusal", "refuse");
  safety.set_step(10);
  scorer(config, preference).score(safety, refusing);
  CHECK(value(refusing, "safety") == 1.0);
  CHECK(value(refusing, "preference") == 3.0);
  CHECK(calls == 2);
  records::Group reasoning = group_of(records::REASONING, "number", "12");
  reasoning.set_step(10);
  records::Sample right = answered("a", "12");
  scorer(config, preference).score(reasoning, right);
  CHECK(find_component(right, "preference") == nullptr);
  CHECK(calls == 2);
}

TEST_CASE("the whole group is scored", "[reward]") {
  records::Group group = group_of(records::REASONING, "number", "12");
  *group.add_samples() = answered("a", "12");
  *group.add_samples() = answered("a", "13");
  scorer({}).score(group);
  CHECK(group.samples(0).total_reward() == 2.0);
  CHECK(group.samples(1).total_reward() == 1.0);
}

TEST_CASE("soft overlong penalty", "[reward]") {
  CHECK(soft_overlong(80, 100, 20) == 0.0);
  CHECK(soft_overlong(90, 100, 20) == -0.5);
  CHECK(soft_overlong(100, 100, 20) == -1.0);
  CHECK(soft_overlong(101, 100, 20) == -1.0);
  CHECK(soft_overlong(0, 100, 100) == 0.0);

  RewardConfig config;
  config.overlong = {.enable = true, .len = 20, .penalty_factor = 2.0};
  records::Sample sample = sample_of(std::vector<int32_t>(90, 'a'), records::LENGTH);
  scorer(config).score(group_of(records::REASONING, "number", "12"), sample);
  CHECK(value(sample, "overlong") == -0.5);
  CHECK(sample.total_reward() == -1.0);
  config.overlong.len = 101;
  CHECK_THROWS_AS(scorer(config), InputError);
}

TEST_CASE("language of an unfinished or missing thought", "[reward]") {
  const records::Group group = group_of(records::REASONING, "number", "12", "zh");
  records::Sample cut = sample_of(kBytes.encode("<think>carry 进"), records::LENGTH);
  scorer({}).score(group, cut);
  CHECK(value(cut, "language") == 0.5);
  std::vector<int32_t> ids = kBytes.encode("进 carry 再");
  ids.push_back(kBytes.end_id());  // its name must not count as words
  records::Sample plain = sample_of(ids);
  scorer({}, {}, "plain").score(group, plain);
  CHECK(value(plain, "language") == Approx(2.0 / 3.0));
}

TEST_CASE("questions that cannot be scored", "[reward]") {
  records::Sample sample = answered("a", "12");
  CHECK_THROWS_AS(scorer({}).score(group_of(records::CATEGORY_UNSPECIFIED, "number", "12"), sample), Fault);
  CHECK_THROWS_AS(scorer({}).score(group_of(records::REASONING, "magic", "12"), sample), InputError);
  scorer({}).score(group_of(records::REASONING, "", ""), sample);
  CHECK(sample.outcome() == records::OUTCOME_UNSPECIFIED);
  CHECK(find_component(sample, "accuracy") == nullptr);
  CHECK(value(sample, "format") == 1.0);
}

TEST_CASE("scoring any bytes is safe and repeatable", "[reward]") {
  const records::Group group = group_of(records::REASONING, "countdown", "5;3,8");
  uint32_t state = 1;
  for (int round = 0; round < 300; ++round) {
    std::vector<int32_t> ids;
    for (int i = 0; i < 60; ++i) {
      state = state * 1664525u + 1013904223u;
      ids.push_back(static_cast<int32_t>((state >> 16) % 272));
    }
    records::Sample first = sample_of(ids);
    records::Sample second = sample_of(ids);
    scorer({}).score(group, first);
    scorer({}).score(group, second);
    CHECK(first.SerializeAsString() == second.SerializeAsString());
  }
}

TEST_CASE("a reward config is read strictly", "[reward]") {
  const RewardConfig config =
      config::read_config_text<RewardConfig>("language: 0.5\nreward_style: signed\noverlong: {enable: true, len: 8}\n", "x.yaml");
  CHECK(config.language == 0.5);
  CHECK(config.reward_style == "signed");
  CHECK(config.overlong.len == 8);
  for (const char* bad :
       {"format: -1\n", "accuracy: .nan\n", "undecided: keep\n", "overlong: {len: 0}\n", "preference_from_step: -1\n", "speed: 1\n"}) {
    INFO(bad);
    CHECK_THROWS_AS(config::read_config_text<RewardConfig>(bad, "x.yaml"), InputError);
  }
}
