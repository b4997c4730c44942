#include "core/data/survey.h"

#include <catch2/catch.hpp>
#include <fstream>

#include "core/base/error.h"
#include "tests/core/base/temp_dir.h"

namespace cohort::data {
namespace {

Survey survey(SurveyOptions options, std::vector<std::string>* kept = nullptr) {
  uint64_t last = 0;
  const Survey result = survey_rows(
      options, [&](const records::Question& question) { kept ? kept->push_back(question.text()) : void(); },
      [&](uint64_t read, uint64_t total) {
        CHECK(read >= last);
        CHECK(read <= total);
        last = read;
      });
  return result;
}

std::string row(const std::string& question) { return R"({"prompt": ")" + question + R"(", "answer": "42"})" + "\n"; }

TEST_CASE("rows are counted by what becomes of them", "[data][survey]") {
  const TempDir folder;
  const std::string path = folder / "rows.jsonl";
  std::ofstream(path) << row("aa") << row("b b") << "bad\n" << row(" b\\t b ") << row("cccccccccc") << row("aa") << row("dd");
  std::vector<std::string> kept;
  Survey s = survey({.input = path, .max_prompt_bytes = 9}, &kept);
  CHECK(s.rows == 7);
  CHECK(s.bad == 1);
  CHECK(s.too_long == 1);
  CHECK(s.duplicates == 2);
  CHECK(s.kept == 5);
  CHECK(kept == std::vector<std::string>{"aa", "b b", " b\t b ", "aa", "dd"});
  CHECK(s.sources == std::map<std::string, uint64_t>{{"trl", 6}});
  CHECK(s.verifiers == std::map<std::string, uint64_t>{{"math", 6}});
  REQUIRE(s.problems.size() == 1);
  CHECK(s.problems[0].starts_with(path + ":3: "));
  CHECK(s.duplicate_examples == std::vector<std::string>{path + ":4: as row 2", path + ":6: as row 1"});
  CHECK(s.example->text() == "aa");
  CHECK(s.guesses.count == 0);

  kept.clear();
  s = survey({.input = path, .drop_duplicates = true}, &kept);
  CHECK(s.kept == 4);
  CHECK(kept == std::vector<std::string>{"aa", "b b", "cccccccccc", "dd"});
}

TEST_CASE("rows that nothing says how to verify are counted", "[data][survey]") {
  const TempDir folder;
  const std::string path = folder / "rows.jsonl";
  std::ofstream(path) << row("aa") << R"({"data_source": "mine", "prompt": "p", "reward_model": {"ground_truth": "1"}})"
                      << "\n"
                      << R"({"data_source": "taco", "prompt": "p", "reward_model": {"ground_truth": "{}"}})";
  const Survey s = survey({.input = path});
  CHECK(s.guesses.count == 1);
  CHECK(s.guesses.first.starts_with(path + ":2, "));
  CHECK(s.bad == 1);
}

TEST_CASE("lengths are order statistics, in tokens where there is a tokenizer", "[data][survey]") {
  const TempDir folder;
  const std::string path = folder / "rows.jsonl";
  std::ofstream file(path);
  for (int length = 1; length <= 100; ++length) file << row(std::string(static_cast<size_t>(length), 'x'));
  file.close();
  const text::ByteTokenizer tokenizer;
  Survey s = survey({.input = path, .max_prompt_length = 95, .prompt_template = &text::find_template("plain"), .tokenizer = &tokenizer});
  REQUIRE(s.prompt_bytes);
  CHECK(s.prompt_bytes->min == 1);
  CHECK(s.prompt_bytes->median == 50);
  CHECK(s.prompt_bytes->p95 == 95);
  CHECK(s.prompt_bytes->max == 100);
  CHECK(s.prompt_tokens->max == 100);
  CHECK(s.completion_tokens->max == 3);  // 42 and the end
  CHECK(s.too_long == 5);
  CHECK(s.kept == 95);
  s = survey({.input = path});
  CHECK_FALSE(s.prompt_tokens);
}

TEST_CASE("what a template cannot hold is dropped and said", "[data][survey]") {
  const TempDir folder;
  const std::string path = folder / "rows.jsonl";
  std::ofstream(path)
      << R"({"messages": [{"role": "user", "content": "A"}, {"role": "assistant", "content": "B"}, {"role": "user", "content": "C"}, {"role": "assistant", "content": "D"}]})";
  const text::ByteTokenizer tokenizer;
  const Survey s = survey({.input = path, .prompt_template = &text::find_template("plain"), .tokenizer = &tokenizer});
  CHECK(s.unwritable == 1);
  CHECK(s.kept == 0);
  CHECK(s.problems[0].starts_with(path + ":1: template plain"));
  CHECK_FALSE(s.example);
}

}  // namespace
}  // namespace cohort::data
