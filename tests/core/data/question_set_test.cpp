#include "core/data/question_set.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "core/base/error.h"
#include "core/config/yaml_reader.h"
#include "tests/support/golden.h"

using namespace cohort;
using namespace cohort::data;

namespace {

DataConfig tasks(std::vector<std::string> names, std::string split = "auto") {
  DataConfig config;
  config.tasks = std::move(names);
  config.split = std::move(split);
  return config;
}

class RowsFile {
 public:
  explicit RowsFile(int count) {
    std::string pattern = (std::filesystem::temp_directory_path() / "cohort_set_XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    std::ofstream file(config().path);
    for (int i = 0; i < count; ++i) file << R"({"question": "Question )" << i << R"(?", "answer": "So it is.\n#### )" << i << "\"}\n";
  }
  ~RowsFile() { std::filesystem::remove_all(folder_); }
  DataConfig config() const {
    DataConfig result;
    result.path = folder_ + "/rows.jsonl";
    return result;
  }
  const std::string& folder() const { return folder_; }

 private:
  std::string folder_;
};

std::vector<std::string> texts(const QuestionSet& set, uint64_t first, uint64_t count) {
  std::vector<std::string> result;
  for (uint64_t i = first; i < first + count; ++i) result.push_back(set.at(i).text());
  return result;
}

}  // namespace

TEST_CASE("a question depends on config, seed and position alone", "[data][question_set]") {
  const QuestionSet set(tasks({"add:2", "sort:1", "countdown:2"}), 5);
  const QuestionSet same(tasks({"add:2", "sort:1", "countdown:2"}), 5);
  const QuestionSet other(tasks({"add:2", "sort:1", "countdown:2"}), 6);
  CHECK(set.size() == 0);
  const std::string late = set.at(1000).SerializeAsString();
  CHECK(texts(set, 0, 100) == texts(same, 0, 100));
  CHECK(texts(set, 0, 100) != texts(other, 0, 100));
  CHECK(same.at(1000).SerializeAsString() == late);
  for (uint64_t i = 0; i < 50; ++i) CHECK(set.at(i).id() == i);
}

TEST_CASE("held-out questions never occur in training, whatever the seed", "[data][question_set]") {
  for (const std::string task :
       {"add:1", "add:2", "countdown:1", "countdown:3", "sort:1", "instruction:1", "instruction:2", "safety:1", "add2_reversed"}) {
    std::set<std::string> train;
    for (const uint64_t seed : {1, 2}) {
      const QuestionSet set(tasks({task}, "train"), seed);
      for (uint64_t i = 0; i < 1500; ++i) train.insert(set.at(i).text());
    }
    const QuestionSet test_set(tasks({task}, "test"), 3);
    INFO(task);
    for (uint64_t i = 0; i < 300; ++i) CHECK(train.count(test_set.at(i).text()) == 0);
  }
}

TEST_CASE("a held-out problem is held out in both languages", "[data][question_set]") {
  const QuestionSet set(tasks({"add:2", "safety:1", "instruction:1"}, "test"), 3);
  for (uint64_t i = 0; i < 100; ++i) {
    const TaskItem english = set.item_at(i, "en");
    const TaskItem chinese = set.item_at(i, "zh");
    CHECK(english.key == chinese.key);
    CHECK(english.question.text() != chinese.question.text());
  }
}

TEST_CASE("echo_digit has all its questions in both splits", "[data][question_set]") {
  for (const char* split : {"train", "test"}) {
    const QuestionSet set(tasks({"echo_digit"}, split), 1);
    std::set<std::string> seen;
    for (uint64_t i = 0; i < 300; ++i) seen.insert(set.at(i).text());
    CHECK(seen.size() == 10);
  }
}

TEST_CASE("tasks are drawn by weight, languages equally", "[data][question_set]") {
  DataConfig config = tasks({"add:1", "sort:2"});
  config.weights = {1.0, 3.0};
  const QuestionSet set(config, 9);
  std::map<std::string, int> sources;
  std::map<std::string, int> languages;
  for (uint64_t i = 0; i < 4000; ++i) {
    const records::Question question = set.at(i);
    ++sources[question.source()];
    ++languages[question.language()];
  }
  CHECK(sources["add"] == Approx(1000).margin(120));
  CHECK(languages["zh"] == Approx(2000).margin(150));
  config.languages = {"zh"};
  for (uint64_t i = 0; i < 50; ++i) CHECK(QuestionSet(config, 9).at(i).language() == "zh");
}

TEST_CASE("a size makes the set repeat", "[data][question_set]") {
  DataConfig config = tasks({"add:3"});
  config.size = 16;
  const QuestionSet set(config, 2);
  CHECK(set.size() == 16);
  CHECK(texts(set, 0, 16) == texts(set, 16, 16));
  CHECK(set.at(17).id() == 17);
  CHECK(set.at(17).text() == QuestionSet(tasks({"add:3"}), 2).at(1).text());
}

TEST_CASE("an epoch of a file has every row once, in an order of its own", "[data][question_set]") {
  for (const int count : {1, 2, 3, 5, 16, 17, 100, 1025}) {
    const RowsFile file(count);
    const QuestionSet set(file.config(), 4);
    const auto n = static_cast<uint64_t>(count);
    REQUIRE(set.size() == n);
    const std::vector<std::string> first = texts(set, 0, n);
    const std::vector<std::string> second = texts(set, n, n);
    CHECK(std::set<std::string>(first.begin(), first.end()).size() == n);
    CHECK(std::set<std::string>(second.begin(), second.end()).size() == n);
    if (count >= 16) CHECK(first != second);
    if (count >= 16) CHECK(first != texts(QuestionSet(file.config(), 5), 0, n));
    CHECK(first == texts(QuestionSet(file.config(), 4), 0, n));
  }
}

TEST_CASE("rows may keep their order", "[data][question_set]") {
  const RowsFile file(20);
  DataConfig config = file.config();
  config.shuffle = false;
  config.size = 3;
  const QuestionSet set(config, 4);
  CHECK(texts(set, 0, 4) == std::vector<std::string>{"Question 0?", "Question 1?", "Question 2?", "Question 0?"});
  CHECK(set.at(3).id() == 3);
  CHECK_THROWS_AS(set.item_at(0), Fault);
}

TEST_CASE("a file is split by its questions where asked", "[data][question_set]") {
  const RowsFile file(1000);
  DataConfig config = file.config();
  config.split = "train";
  const QuestionSet train(config, 1);
  config.split = "test";
  const QuestionSet test_set(config, 1);
  CHECK(train.size() + test_set.size() == 1000);
  CHECK(test_set.size() == Approx(100).margin(35));
  const std::vector<std::string> in_train = texts(train, 0, train.size());
  for (const std::string& text : texts(test_set, 0, test_set.size()))
    CHECK(std::find(in_train.begin(), in_train.end(), text) == in_train.end());
}

TEST_CASE("long questions of a file are left out and counted", "[data][question_set]") {
  const RowsFile file(20);
  DataConfig config = file.config();
  config.max_prompt_bytes = 11;  // "Question 9?"
  CHECK(QuestionSet(config, 1).size() == 10);
  CHECK(QuestionSet(config, 1).long_rows() == 10);
  config.max_prompt_bytes = 3;
  CHECK_THROWS_AS(QuestionSet(config, 1), InputError);
}

TEST_CASE("what cannot be a question set is an input error", "[data][question_set]") {
  CHECK_THROWS_AS(QuestionSet(DataConfig{}, 1), InputError);
  CHECK_THROWS_AS(QuestionSet(tasks({"ad:1"}), 1), InputError);
  DataConfig both = tasks({"add:1"});
  both.path = "x.jsonl";
  CHECK_THROWS_AS(QuestionSet(both, 1), InputError);
  DataConfig languages = tasks({"add:1"});
  languages.languages = {"fr"};
  CHECK_THROWS_AS(QuestionSet(languages, 1), InputError);
  languages.languages = {};
  CHECK_THROWS_AS(QuestionSet(languages, 1), InputError);
  DataConfig weights = tasks({"add:1"});
  weights.weights = {1.0, 2.0};
  CHECK_THROWS_AS(QuestionSet(weights, 1), InputError);
}

TEST_CASE("COHORT_DATA in a path is replaced", "[data][question_set]") {
  const std::string before = test::data_path();
  setenv("COHORT_DATA", "/somewhere", 1);
  CHECK(resolve_data_path("$COHORT_DATA/gsm8k/train.jsonl") == "/somewhere/gsm8k/train.jsonl");
  CHECK(resolve_data_path("a/$COHORT_DATA/b") == "a/$COHORT_DATA/b");
  unsetenv("COHORT_DATA");
  CHECK_THROWS_WITH(resolve_data_path("$COHORT_DATA/x"), Catch::Contains("COHORT_DATA"));
  CHECK(resolve_data_path("x/y") == "x/y");
  if (!before.empty()) setenv("COHORT_DATA", before.c_str(), 1);
}

TEST_CASE("a config names every task that does not exist", "[data][question_set]") {
  const DataConfig good = config::read_config_text<DataConfig>("tasks: [add:2, sort:1]\nweights: [1, 2]\nlanguages: zh\n", "x.yaml");
  CHECK(good.tasks == std::vector<std::string>{"add:2", "sort:1"});
  CHECK(good.languages == std::vector<std::string>{"zh"});
  CHECK(config::read_config_text<DataConfig>("path: x.jsonl\n", "x.yaml").path == "x.jsonl");
  const auto problems = [](const std::string& yaml) {
    try {
      config::read_config_text<DataConfig>(yaml, "x.yaml");
    } catch (const InputError& error) {
      return error.problems().size();
    }
    return size_t{0};
  };
  CHECK(problems("tasks: [add:9, ad:1]\n") == 2);
  CHECK(problems("tasks: add:1\npath: x\n") == 1);
  CHECK(problems("tasks: add:1\nweights: [1, 2]\n") == 1);
  CHECK(problems("tasks: add:1\nweights: [0]\n") >= 1);
  CHECK(problems("tasks: add:1\nlanguages: [fr]\n") == 1);
  CHECK(problems("tasks: add:1\nsplit: both\nsize: -1\n") == 2);
}

TEST_CASE("a mix gives each source its share of every stretch, and each row once per pass", "[data][question_set]") {
  const MixOrder order({3.0, 1.0, 0.5});
  std::map<size_t, uint64_t> next;
  for (uint64_t i = 0; i < 9000; ++i) {
    const MixOrder::Turn turn = order.at(i);
    REQUIRE(turn.position == next[turn.source]++);
    for (const auto& [source, share] : {std::pair<size_t, double>{0, 3 / 4.5}, {1, 1 / 4.5}, {2, 0.5 / 4.5}})
      REQUIRE(std::abs(static_cast<double>(next[source]) - share * static_cast<double>(i + 1)) < 2.0);
  }
  // Far out the positions go on without a gap.
  const MixOrder::Turn far = order.at(uint64_t{1} << 60);
  CHECK(far.position > (uint64_t{1} << 56));
  CHECK(MixOrder({1.0}).at(77).position == 77);
  CHECK(MixOrder({1e-30, 1.0}).at(1'000'000).source == 1);

  const RowsFile many(40), few(7);
  DataConfig config;
  config.mix = {{many.config().path, 2.0}, {few.config().path, 1.0}};
  const QuestionSet set(config, 5);
  CHECK(set.size() == 0);
  CHECK(set.rows() == 47);
  CHECK(set.row(46).text() == "Question 6?");
  CHECK(set.row(46).id() == 46);
  const std::vector<std::string> first = texts(set, 0, 60);
  CHECK(first == texts(QuestionSet(config, 5), 0, 60));  // the position is all the state there is
  CHECK(first != texts(QuestionSet(config, 6), 0, 60));
  CHECK(std::set<std::string>(first.begin(), first.end()).size() == 40);  // 40 turns of the first source: all its rows
  CHECK(set.at(1000).id() == 1000);

  // Seven turns of the second source, and the next would ask again.
  const uint64_t once = set.positions_without_repeat();
  CHECK(once >= 21);
  CHECK(once <= 24);
  CHECK(QuestionSet(many.config(), 5).positions_without_repeat() == 40);

  config.size = 10;
  const QuestionSet repeated(config, 5);
  CHECK(repeated.size() == 10);
  CHECK(repeated.positions_without_repeat() == 10);
  CHECK(texts(repeated, 0, 10) == std::vector<std::string>(first.begin(), first.begin() + 10));
  const std::vector<std::string> again = texts(repeated, 10, 10);
  CHECK(again != texts(repeated, 0, 10));
  CHECK(std::multiset<std::string>(again.begin(), again.end()) == std::multiset<std::string>(first.begin(), first.begin() + 10));
  config.path = many.config().path;
  CHECK_THROWS_AS(QuestionSet(config, 1), InputError);
}

TEST_CASE("prompts over max_prompt_length are left out and counted", "[data][question_set]") {
  const RowsFile file(20);  // "Question 7?" has 11 bytes, "Question 17?" 12
  DataConfig config = file.config();
  config.max_prompt_length = 14;
  const PromptLength length = [](const records::Question& question) { return static_cast<int64_t>(question.text().size()) + 3; };
  const QuestionSet set(config, 1, length);
  CHECK(set.rows() == 10);
  CHECK(set.long_rows() == 10);
  CHECK_THROWS_AS(QuestionSet(config, 1), Fault);
  config.max_prompt_length = 3;
  CHECK_THROWS_WITH(QuestionSet(config, 1, length), Catch::Contains("max_prompt_length"));
}

TEST_CASE("each pass of a mix with a size asks the same questions in an order of its own", "[data][question_set]") {
  const RowsFile many(40), few(7);
  DataConfig config;
  config.mix = {{many.config().path, 2.0}, {few.config().path, 1.0}};
  config.size = 36;  // 24 of the first source, 12 of the second: all of it, and five a second time
  const QuestionSet set(config, 5);
  const MixOrder order({2.0, 1.0});
  CHECK(order.turns(36, 0) == 24);
  CHECK(order.turns(36, 1) == 12);
  std::set<std::vector<std::string>> orders;
  std::multiset<std::string> asked;
  for (uint64_t pass = 0; pass < 20; ++pass) {
    const std::vector<std::string> questions = texts(set, 36 * pass, 36);
    orders.insert(questions);
    const std::multiset<std::string> these(questions.begin(), questions.end());
    if (pass == 0) asked = these;
    CHECK(these == asked);
    std::set<std::string> once;  // of the second source, before it begins anew
    for (uint64_t i = 0, seen = 0; seen < 7; ++i)
      if (order.at(i).source == 1) once.insert(questions[i]), ++seen;
    CHECK(once.size() == 7);
  }
  CHECK(orders.size() == 20);
  config.shuffle = false;
  const QuestionSet in_order(config, 5);
  CHECK(texts(in_order, 36, 36) == texts(in_order, 0, 36));
}

TEST_CASE("rows whose prompt cannot be written are bad rows", "[data][question_set]") {
  const RowsFile file(20);
  const std::string path = file.config().path;
  const PromptLength length = [](const records::Question& question) {
    if (question.text() == "Question 7?") throw InputError("template: no system messages");
    return static_cast<int64_t>(question.text().size());
  };
  DataConfig config = file.config();
  config.skip_bad_rows = true;
  const QuestionSet set(config, 1, length);
  CHECK(set.rows() == 19);
  CHECK(set.bad_rows() == 1);
  CHECK(set.problems() == std::vector<std::string>{path + ":8: template: no system messages"});
  CHECK(set.row(7).text() == "Question 8?");
  CHECK(set.place(7) == path + ":9");
  CHECK_THROWS_AS(set.place(19), Fault);
  config.skip_bad_rows = false;
  CHECK(QuestionSet(config, 1, length).rows() == 20);  // nothing asks how long prompts are
  config.max_prompt_length = 100;
  CHECK_THROWS_WITH(QuestionSet(config, 1, length), path + ":8: template: no system messages");
}

TEST_CASE("a mix is read from YAML", "[data][question_set]") {
  const DataConfig config = config::read_config_text<DataConfig>("mix: [{path: a.jsonl, weight: 2}, {path: b}]\n", "x.yaml");
  REQUIRE(config.mix.size() == 2);
  CHECK(config.mix[0].weight == 2.0);
  CHECK(config.paths() == std::vector<std::string>{"a.jsonl", "b"});
  CHECK_THROWS_WITH(config::read_config_text<DataConfig>("mix: [{path: a, weight: 0}]\n", "x.yaml"), Catch::Contains("weight"));
  CHECK_THROWS_WITH(config::read_config_text<DataConfig>("mix: [{weight: 1}]\n", "x.yaml"), Catch::Contains("path"));
  CHECK_THROWS_WITH(config::read_config_text<DataConfig>("path: a\nmix: [{path: a}]\n", "x.yaml"),
                    Catch::Contains("one of tasks, path and mix"));
  CHECK_THROWS_WITH(config::read_config_text<DataConfig>("tasks: add:1\nmax_prompt_length: 5\n", "x.yaml"),
                    Catch::Contains("max_prompt_length"));
}
