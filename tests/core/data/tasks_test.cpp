#include "core/data/tasks.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cctype>
#include <set>
#include <sstream>

#include "core/base/error.h"
#include "core/reward/verifier.h"
#include "core/text/language.h"

using namespace cohort;
using namespace cohort::data;

namespace {

TaskItem item(const std::string& task, const std::string& language, uint64_t i, Mistakes mistakes = {}) {
  return make_item(parse_task(task, "test"), language, RandomStream(11, "tasks test", {i}), mistakes);
}

bool is_calibration(const std::string& task) { return task.starts_with("echo_digit") || task.starts_with("add2_reversed"); }

}  // namespace

TEST_CASE("every generated answer passes its own verifier", "[data][tasks]") {
  for (const std::string& task : task_names()) {
    for (const std::string language : {"en", "zh"}) {
      for (uint64_t i = 0; i < 200; ++i) {
        const records::Question question = item(task, language, i).question;
        if (reward::verify(question, question.answer()) != records::CORRECT)
          FAIL(question.text() << " | " << question.ground_truth() << " | " << question.answer());
      }
    }
  }
}

TEST_CASE("questions look as documented", "[data][tasks]") {
  // Whatever the numbers: the form of each text is fixed by an example.
  const auto example = [](const char* task, const char* language, uint64_t i) {
    const records::Question q = item(task, language, i).question;
    return q.text() + " | " + q.solution() + " | " + q.answer() + " | " + q.ground_truth();
  };
  for (const std::string& task : task_names())
    for (const char* language : {"en", "zh"})
      for (uint64_t i = 0; i < 3; ++i) UNSCOPED_INFO(task << " " << language << ": " << example(task.c_str(), language, i));
  const records::Question q = item("add:2", "en", 0).question;
  const std::string sum = q.text().substr(4, 2) + "+" + q.text().substr(11, 2);
  CHECK(q.text().substr(0, 4) == "Add ");
  CHECK(q.ground_truth() == std::to_string(std::stoi(sum.substr(0, 2)) + std::stoi(sum.substr(3, 2))));
  CHECK(q.source() == "add");
  CHECK(q.level() == 2);
  CHECK(q.language() == "en");
  CHECK(q.category() == records::REASONING);
  CHECK(item("instruction:1", "en", 0).question.category() == records::HELPFUL);
  CHECK(item("safety:1", "en", 0).question.category() == records::SAFETY);
}

TEST_CASE("texts are short enough for a model of bytes", "[data][tasks]") {
  for (const std::string& task : task_names()) {
    if (task.starts_with("word_problem")) continue;  // for models that read words
    for (const std::string language : {"en", "zh"}) {
      for (uint64_t i = 0; i < 300; ++i) {
        const records::Question question = item(task, language, i).question;
        INFO(task << ": " << question.text() << " | " << question.solution() << " | " << question.answer());
        CHECK(question.text().size() <= 32);
        CHECK(question.solution().size() <= 80);
        CHECK(question.answer().size() <= 40);
      }
    }
  }
}

TEST_CASE("solutions are in the language of the question", "[data][tasks]") {
  for (const std::string& task : task_names()) {
    if (is_calibration(task)) continue;
    for (const std::string language : {"en", "zh"}) {
      for (uint64_t i = 0; i < 100; ++i) {
        const records::Question question = item(task, language, i).question;
        INFO(question.text() << " | " << question.solution());
        CHECK(text::count_words(question.solution()).total() >= 2);
        CHECK(text::language_consistency(question.solution(), language) == 1.0);
        CHECK(text::dominant_language(question.text()) == language);
      }
    }
  }
}

TEST_CASE("items are a function of their arguments", "[data][tasks]") {
  for (const std::string& task : task_names()) {
    for (uint64_t i = 0; i < 50; ++i) {
      const TaskItem first = item(task, "en", i);
      const TaskItem again = item(task, "en", i);
      const TaskItem chinese = item(task, "zh", i);
      CHECK(first.question.SerializeAsString() == again.question.SerializeAsString());
      CHECK(first.key == chinese.key);
      CHECK(first.steps.size() == chinese.steps.size());
      if (first.question.category() == records::REASONING) CHECK(first.question.ground_truth() == chinese.question.ground_truth());
      std::string joined;
      for (const std::string& step : first.steps) joined += step;
      CHECK(joined == first.question.solution());
    }
  }
}

TEST_CASE("mistakes change the solution and never the question", "[data][tasks]") {
  for (const std::string task : {"add:1", "add:2", "add:4", "countdown:2", "sort:3", "word_problem:1", "word_problem:3", "instruction:1",
                                 "instruction:2", "safety:1"}) {
    int wrong = 0;
    for (uint64_t i = 0; i < 200; ++i) {
      const records::Question right = item(task, "en", i).question;
      const records::Question sloppy = item(task, "en", i, {.rate = 1.0, .stream = RandomStream(1, "mistakes", {i})}).question;
      CHECK(sloppy.text() == right.text());
      CHECK(sloppy.ground_truth() == right.ground_truth());
      wrong += reward::verify(sloppy, sloppy.answer()) == records::WRONG ? 1 : 0;
    }
    INFO(task);
    CHECK(wrong >= 100);
  }
}

TEST_CASE("every task that holds questions out has some", "[data][tasks]") {
  for (const std::string& task : task_names()) {
    const TaskSpec spec = parse_task(task, "test");
    std::set<std::string> held_out;
    std::set<std::string> all;
    for (uint64_t i = 0; i < 4000; ++i) {
      const std::string key = item(task, "en", i).key;
      all.insert(key);
      if (is_held_out(spec.name, key)) held_out.insert(key);
    }
    INFO(task << ": " << held_out.size() << " of " << all.size());
    if (task != "echo_digit:1") CHECK(held_out.size() >= 2);
    if (all.size() > 500) CHECK(static_cast<double>(held_out.size()) / static_cast<double>(all.size()) == Approx(0.1).margin(0.04));
  }
}

TEST_CASE("a sum belongs to one split in either order", "[data][tasks]") {
  std::set<std::string> keys;
  for (uint64_t i = 0; i < 3000; ++i) keys.insert(item("add:1", "en", i).key);
  CHECK(keys.size() == 55);  // unordered pairs of digits
  for (uint64_t i = 0; i < 100; ++i) {
    const TaskItem two_digits = item("add:2", "en", i);
    const std::string first = two_digits.question.text().substr(4, 2);
    const std::string second = two_digits.question.text().substr(11, 2);
    CHECK(two_digits.key == std::min(first, second) + "+" + std::max(first, second));
  }
}

/// Reads the numbers of a word problem and says what the story comes to.
int64_t worked_out(const std::string& story) {
  std::istringstream words(story);
  int64_t count = -1, number = 0;
  std::string word, before;
  while (words >> word) {
    if (word == "loses" || word == "sells" || word == "gives" || word == "buys" || word == "finds" || word == "boxes") before = word;
    if (word == "to") count -= 2 * number;  // "gives 3 apples to Ben", counted as a gain so far
    if (!std::isdigit(static_cast<unsigned char>(word[0]))) continue;
    number = std::stoll(word);
    if (count < 0)
      count = number;
    else
      count = before == "boxes" ? count * number : before == "loses" || before == "sells" ? count - number : count + number;
  }
  return count;
}

TEST_CASE("a word problem's ground truth is what its story comes to", "[data][tasks]") {
  for (const std::string task : {"word_problem:1", "word_problem:2", "word_problem:3"}) {
    for (uint64_t i = 0; i < 300; ++i) {
      const TaskItem problem = item(task, "en", i);
      INFO(problem.question.text());
      CHECK(std::to_string(worked_out(problem.question.text())) == problem.question.ground_truth());
      CHECK(problem.steps.size() == problem.question.level());
    }
  }
}

TEST_CASE("task names are read strictly", "[data][tasks]") {
  CHECK(parse_task("add:3", "x").level == 3);
  CHECK(parse_task("add", "x").level == 1);
  for (const char* bad : {"", "ad:1", "add:", "add:0", "add:5", "add:01", "add:1x", "add:-1", "add:99999999999", "sort:9", "Add:1", ":1"}) {
    INFO(bad);
    CHECK_THROWS_AS(parse_task(bad, "x"), InputError);
  }
  CHECK_THROWS_WITH(parse_task("ad:1", "r1.yaml:3: tasks"),
                    Catch::Contains("r1.yaml:3: tasks: expected") && Catch::Contains("did you mean add"));
  CHECK(find_task_problems({"add:1", "add:9", "nothing"}).size() == 2);
}
