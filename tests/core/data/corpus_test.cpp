#include "core/data/corpus.h"

#include <catch2/catch.hpp>
#include <set>

#include "core/base/error.h"
#include "core/config/yaml_reader.h"
#include "core/reward/verifier.h"
#include "core/text/language.h"

using namespace cohort;
using namespace cohort::data;

namespace {

const text::ByteTokenizer kBytes;

std::span<const int32_t> completion(const records::Demonstration& demonstration) {
  return {demonstration.completion_ids().data(), static_cast<size_t>(demonstration.completion_ids_size())};
}

DataConfig reasoning_data() {
  DataConfig config;
  config.tasks = {"add:2"};
  return config;
}

/// The mixture with one way of writing only.
PretrainMixture only(double PretrainMixture::*form) {
  PretrainMixture mixture;
  mixture.templates = {"r1_zero_brief"};
  mixture.careful = mixture.sloppy = mixture.direct = mixture.no_format = 0.0;
  mixture.*form = 1.0;
  mixture.general = 0.0;
  mixture.mixed_language = 0.0;
  return mixture;
}

struct Shares {
  double well_formed = 0.0;
  double correct = 0.0;
  double consistent = 0.0;
};

/// What rewards would say about the demonstrations themselves.
Shares measure(const DataConfig& data, const PretrainMixture& mixture, uint64_t seed = 1) {
  const PretrainCorpus corpus(data, mixture, kBytes, seed);
  const QuestionSet questions(data, seed);
  const text::PromptTemplate& prompt_template = text::find_template("r1_zero_brief");
  Shares shares;
  constexpr int kCount = 1000;
  for (uint64_t i = 0; i < kCount; ++i) {
    const text::Parsed parsed = text::parse_completion(prompt_template, kBytes, completion(corpus.at(i)));
    const records::Question question = questions.at(i);
    shares.well_formed += parsed.well_formed;
    shares.correct += reward::verify(question, parsed.answer) == records::CORRECT;
    shares.consistent += text::language_consistency(parsed.think, question.language()) == 1.0;
  }
  return {shares.well_formed / kCount, shares.correct / kCount, shares.consistent / kCount};
}

}  // namespace

TEST_CASE("a demonstration is prompt and completion by ids", "[data][corpus]") {
  records::Question question;
  question.set_id(7);
  question.set_source("add");
  question.set_text("Add 1 and 2.");
  question.set_solution("one step 1+2=3");
  question.set_answer("3");
  const text::PromptTemplate& zero = text::find_template("r1_zero_brief");
  const records::Demonstration shown = demonstrate(question, zero, kBytes);
  CHECK(kBytes.decode(completion(shown)) == "<think>one step 1+2=3</think><answer>3</answer><|end|>");
  CHECK(std::vector<int32_t>(shown.prompt_ids().begin(), shown.prompt_ids().end()) == zero.render("Add 1 and 2.", kBytes));
  CHECK(shown.question_id() == 7);
  CHECK(shown.source() == "add");
  CHECK(kBytes.decode(completion(demonstrate(question, text::find_template("chat_think"), kBytes))) ==
        "one step 1+2=3\n</think>\n3<|end|>");
  CHECK(kBytes.decode(completion(demonstrate(question, zero, kBytes, false))) == "<think></think><answer>3</answer><|end|>");
  question.clear_answer();
  CHECK_THROWS_AS(demonstrate(question, zero, kBytes), Fault);
}

TEST_CASE("the corpus is a function of configs, seed and position", "[data][corpus]") {
  const PretrainCorpus first(reasoning_data(), {}, kBytes, 3);
  const PretrainCorpus again(reasoning_data(), {}, kBytes, 3);
  const PretrainCorpus other(reasoning_data(), {}, kBytes, 4);
  int different = 0;
  for (uint64_t i = 0; i < 200; ++i) {
    CHECK(first.at(199 - i).SerializeAsString() == again.at(199 - i).SerializeAsString());
    different += first.at(i).SerializeAsString() != other.at(i).SerializeAsString();
    CHECK(first.at(i).completion_ids(first.at(i).completion_ids_size() - 1) == kBytes.end_id());
  }
  CHECK(different > 190);
}

TEST_CASE("each way of writing is what it says", "[data][corpus]") {
  const Shares careful = measure(reasoning_data(), only(&PretrainMixture::careful));
  CHECK(careful.well_formed == 1.0);
  CHECK(careful.correct == 1.0);
  CHECK(careful.consistent == 1.0);

  const Shares sloppy = measure(reasoning_data(), only(&PretrainMixture::sloppy));
  CHECK(sloppy.well_formed == 1.0);
  CHECK(sloppy.correct == Approx(0.36).margin(0.06));  // two steps, each right with probability 0.6

  const Shares direct = measure(reasoning_data(), only(&PretrainMixture::direct));
  CHECK(direct.well_formed == 0.0);
  CHECK(direct.correct == Approx(0.2).margin(0.06));

  const Shares no_format = measure(reasoning_data(), only(&PretrainMixture::no_format));
  CHECK(no_format.well_formed == 0.0);
  CHECK(no_format.correct == 0.0);
}

TEST_CASE("mixed language shows in the thoughts and nowhere else", "[data][corpus]") {
  PretrainMixture mixture = only(&PretrainMixture::careful);
  mixture.mixed_language = 0.4;
  const Shares shares = measure(reasoning_data(), mixture);
  CHECK(shares.consistent == Approx(0.6).margin(0.06));
  CHECK(shares.correct == 1.0);
  CHECK(shares.well_formed == 1.0);
}

TEST_CASE("the default mixture has latent skill and bad habits", "[data][corpus]") {
  PretrainMixture mixture;
  mixture.templates = {"r1_zero_brief"};
  mixture.general = 0.0;
  const Shares shares = measure(reasoning_data(), mixture);
  CHECK(shares.correct > 0.2);
  CHECK(shares.correct < 0.45);
  CHECK(shares.well_formed == Approx(0.5).margin(0.06));
}

TEST_CASE("general questions are answered at random in the mixture", "[data][corpus]") {
  PretrainMixture mixture = only(&PretrainMixture::careful);
  mixture.general = 1.0;
  const PretrainCorpus corpus(reasoning_data(), mixture, kBytes, 1);
  DataConfig general;
  general.tasks = mixture.general_tasks;
  const QuestionSet questions(general, 1);
  int correct = 0;
  for (uint64_t i = 0; i < 1000; ++i) {
    const records::Demonstration demonstration = corpus.at(i);
    const records::Question question = questions.at(i);
    CHECK(demonstration.source() == question.source());
    const text::Parsed parsed = text::parse_completion(text::find_template("r1_zero_brief"), kBytes, completion(demonstration));
    correct += reward::verify(question, parsed.answer) == records::CORRECT;
  }
  CHECK(correct == Approx(400).margin(70));
}

TEST_CASE("the corpus never shows a held-out question", "[data][corpus]") {
  const PretrainCorpus corpus(reasoning_data(), {}, kBytes, 1);
  std::set<std::string> seen;
  for (uint64_t i = 0; i < 3000; ++i) {
    const records::Demonstration demonstration = corpus.at(i);
    seen.insert(kBytes.decode({demonstration.prompt_ids().data(), static_cast<size_t>(demonstration.prompt_ids_size())}));
  }
  DataConfig held_out = reasoning_data();
  held_out.tasks = {"add:2", "instruction:1", "instruction:2", "safety:1"};
  held_out.split = "test";
  const QuestionSet questions(held_out, 2);
  for (uint64_t i = 0; i < 300; ++i)
    for (const char* name : {"r1_zero_brief", "chat_think"})
      CHECK(seen.count(kBytes.decode(text::find_template(name).render(questions.at(i).text(), kBytes))) == 0);
}

TEST_CASE("a corpus needs generated tasks and known templates", "[data][corpus]") {
  PretrainMixture mixture;
  mixture.templates = {};
  CHECK_THROWS_AS(PretrainCorpus(reasoning_data(), mixture, kBytes, 1), InputError);
  mixture.templates = {"none"};
  CHECK_THROWS_AS(PretrainCorpus(reasoning_data(), mixture, kBytes, 1), InputError);
  CHECK_THROWS_AS(PretrainCorpus(DataConfig{}, {}, kBytes, 1), InputError);
}

TEST_CASE("a mixture is read strictly", "[data][corpus]") {
  CHECK(config::read_config_text<PretrainMixture>("careful: 0.5\ntemplates: chat\n", "x.yaml").careful == 0.5);
  for (const char* bad : {"careful: -1\n", "general: 1.5\n", "templates: [none]\n", "templates: []\n", "general_tasks: [add:7]\n",
                          "careful: 0\nsloppy: 0\ndirect: 0\nno_format: 0\n"}) {
    INFO(bad);
    CHECK_THROWS_AS(config::read_config_text<PretrainMixture>(bad, "x.yaml"), InputError);
  }
}
