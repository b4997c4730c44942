#include "core/data/jsonl.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "core/base/error.h"
#include "core/data/question_set.h"
#include "core/data/row_reader.h"
#include "core/reward/verifier.h"
#include "tests/support/golden.h"

using namespace cohort;
using namespace cohort::data;

namespace {

class ScratchFile {
 public:
  explicit ScratchFile(const std::string& content) {
    std::string pattern = (std::filesystem::temp_directory_path() / "cohort_rows_XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    std::ofstream(path(), std::ios::binary) << content;
  }
  ~ScratchFile() { std::filesystem::remove_all(folder_); }
  std::string path() const { return folder_ + "/rows.jsonl"; }

 private:
  std::string folder_;
};

const char* kGsm = R"({"question": "How many?", "answer": "He has 2*3=<<2*3=6>>6 boxes.\nSo <<6*12=72>>72 eggs.\n#### 1,072"})";
const char* kVerl =
    R"({"data_source": "openai/gsm8k", "prompt": [{"role": "user", "content": "How many?"}], "ability": "math",
 "reward_model": {"style": "rule", "ground_truth": "1,072"}, "extra_info": {"split": "train", "index": 0, "answer": "So <<1=1>>1.\n#### 1,072"}})";

records::Question parse(const std::string& line, RowFormat format = RowFormat::kAuto) { return parse_row(line, format, "f:1"); }

std::vector<std::string> problems_of(const std::string& path, RowFormat format = RowFormat::kAuto) {
  try {
    read_rows(path, format, false);
  } catch (const InputError& error) {
    return error.problems();
  }
  return {};
}

}  // namespace

TEST_CASE("a file that cannot be read to its end is a fault, not a short file", "[data]") {
  LineReader reader("/proc/self/mem");  // nothing is mapped at its beginning
  std::string line;
  bool too_long = false;
  CHECK_THROWS_AS(reader.next(line, too_long), Fault);
}

TEST_CASE("GSM8K's own rows", "[data][jsonl]") {
  const records::Question question = parse(kGsm);
  CHECK(question.text() == "How many?");
  CHECK(question.solution() == "He has 2*3=6 boxes.\nSo 72 eggs.");
  CHECK(question.answer() == "1,072");
  CHECK(question.ground_truth() == "1072");
  CHECK(question.verifier() == "number");
  CHECK(question.source() == "gsm8k");
  CHECK(question.language() == "en");
  CHECK(question.category() == records::REASONING);
}

TEST_CASE("verl's rows", "[data][jsonl]") {
  const records::Question question = parse(kVerl);
  CHECK(question.text() == "How many?");
  CHECK(question.ground_truth() == "1072");
  CHECK(question.verifier() == "number");
  CHECK(question.source() == "openai/gsm8k");
  CHECK(question.solution() == "So 1.");

  const records::Question text = parse(
      R"({"data_source":"own","prompt":"问题","reward_model":{"ground_truth":7},"extra_info":{"verifier":"number","language":"en"}})");
  CHECK(text.text() == "问题");
  CHECK(text.ground_truth() == "7");
  CHECK(text.language() == "en");

  const records::Question system = parse(
      R"({"data_source":"own","prompt":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"}],"reward_model":{"ground_truth":"x"}})");
  CHECK(system.text() == "Hi");
  REQUIRE(system.turns_size() == 1);
  CHECK(system.turns(0).role() == "system");
  CHECK(system.turns(0).content() == "Be brief.");
  CHECK(whole_text(system) == "Be brief.\nHi");
  CHECK(system.verifier() == "exact");
}

TEST_CASE("verl's data sources say how to verify: numbers, mathematics, or not at all here", "[data][jsonl]") {
  const auto row = [](const std::string& source, const std::string& more = "") {
    return R"({"data_source":")" + source + R"(","prompt":"x","reward_model":{"ground_truth":"\\frac{1}{2}"})" + more + "}";
  };
  for (const char* source : {"numina_aops_forum", "numina_synthetic_math", "numina_amc_aime", "numina_synthetic_amc", "numina_cn_k12",
                             "numina_olympiads", "hiyouga/geometry3k", "lighteval/MATH", "math_dapo", "aime2024"}) {
    INFO(source);
    CHECK(parse(row(source)).verifier() == "math");
  }
  CHECK(reward::verify(parse(row("numina_olympiads")), "\\boxed{\\dfrac12}") == records::CORRECT);
  for (const char* source : {"codecontests", "apps", "codeforces", "taco"}) {
    INFO(source);
    CHECK_THROWS_WITH(
        parse(row(source)),
        Catch::StartsWith(std::string("f:1: data_source: expected an answer that can be compared, found \"") + source + "\"") &&
            Catch::Contains("sandbox"));
    CHECK(parse(row(source, R"(,"extra_info":{"verifier":"exact"})")).verifier() == "exact");
  }
}

TEST_CASE("rows that are compared as exact text for want of a verifier are counted", "[data][jsonl]") {
  const auto row = [](const std::string& source, const std::string& extra) {
    return R"({"data_source":")" + source + R"(","prompt":"x","reward_model":{"ground_truth":"1"},"extra_info":)" + extra + "}\n";
  };
  const ScratchFile file(row("math", "{}") + row("own", R"({"verifier":"exact"})") + row("mine", "{}") + row("mine", "null") +
                         R"({"prompt": "x", "answer": "1", "verifier": "exact"})" + "\n");
  const Rows rows = read_rows(file.path(), RowFormat::kAuto, false);
  CHECK(rows.guesses.count == 2);
  CHECK(rows.guesses.first == file.path() + ":3, data_source \"mine\"");
  CHECK_THAT(rows.guesses.warning(), Catch::StartsWith("answers to 2 rows") && Catch::Contains(rows.guesses.first));
  const ScratchFile gsm(kGsm);
  DataConfig config;
  config.mix = {{gsm.path(), 1.0}, {file.path(), 1.0}};
  CHECK(QuestionSet(config, 1).warning() == rows.guesses.warning());
  CHECK(ExactGuesses().warning().empty());
}

TEST_CASE("commas that group thousands are read over", "[data][jsonl]") {
  const auto truth = [](const std::string& number) {
    return parse(R"({"question": "a", "answer": "#### )" + number + "\"}").ground_truth();
  };
  CHECK(truth("1,072") == "1072");
  CHECK(truth("-12,345,678.25") == "-12345678.25");
  CHECK(truth("999") == "999");
}

TEST_CASE("rows that are none are refused with their place", "[data][jsonl]") {
  const std::string bad = GENERATE(
      as<std::string>(), "", "x", "[]", "3", "{}", "{\"question\": \"a\"}", R"({"question": 3, "answer": "#### 1"})",
      R"({"question": " ", "answer": "#### 1"})", R"({"question": "a", "answer": "no mark"})", R"({"question": "a", "answer": "#### x"})",
      R"({"question": "a", "answer": "#### "})", R"({"question": "a", "question": "b", "answer": "#### 1"})",
      R"({"question": "a", "answer": "#### 3,5"})", R"({"question": "a", "answer": "#### 1,0,7,2"})",
      R"({"question": "a", "answer": "#### ,,,7"})", R"({"question": "a", "answer": "#### 1234,567"})",
      R"({"question": "a", "answer": "#### 1.000,5"})", R"({"question": "a", "answer": "#### 1,"})",
      R"({"data_source":"a","prompt":"x","reward_model":{"ground_truth":" "}})", R"({"question": "a", "answer": "#### 1e5"})",
      R"({"question": "a", "answer": "#### 1"} x)", "{\"question\": \"\xFF\", \"answer\": \"#### 1\"}",
      R"({"data_source":"a","prompt":[],"reward_model":{"ground_truth":"1"}})",
      R"({"data_source":"a","prompt":[{"role":"assistant","content":"x"}],"reward_model":{"ground_truth":"1"}})",
      R"({"data_source":"a","prompt":[{"role":"user","content":3}],"reward_model":{"ground_truth":"1"}})",
      R"({"data_source":"a","prompt":[{"content":"x"}],"reward_model":{"ground_truth":"1"}})",
      R"({"data_source":"a","prompt":[3],"reward_model":{"ground_truth":"1"}})", R"({"data_source":"a","prompt":"x","reward_model":3})",
      R"({"prompt":"x","reward_model":{"ground_truth":"1"}})", R"({"data_source":"a","prompt":"x","reward_model":{}})",
      R"({"data_source":"a","prompt":"x","reward_model":{"ground_truth":true}})",
      R"({"data_source":"gsm8k","prompt":"x","reward_model":{"ground_truth":"many"}})",
      R"({"data_source":"a","prompt":"x","reward_model":{"ground_truth":"1"},"extra_info":3})",
      R"({"data_source":"a","prompt":"x","reward_model":{"ground_truth":"1"},"extra_info":{"verifier":"magic"}})",
      R"({"data_source":"a","prompt":"x","reward_model":{"ground_truth":"1"},"extra_info":{"language":"fr"}})");
  INFO(bad);
  CHECK_THROWS_WITH(parse(bad), Catch::StartsWith("f:1"));
}

TEST_CASE("deep nesting and long numbers are refused", "[data][jsonl]") {
  CHECK_THROWS_AS(parse("{\"question\": " + std::string(100000, '[') + std::string(100000, ']') + "}"), InputError);
  CHECK_THROWS_AS(parse(R"({"question": "a", "answer": "#### )" + std::string(1000, '7') + "\"}"), InputError);
}

TEST_CASE("verifiers that rows may ask for are those there are", "[data][jsonl]") {
  for (const std::string& name : reward::verifier_names()) {
    INFO(name);
    CHECK(parse(R"({"data_source":"a","prompt":"x","reward_model":{"ground_truth":"1"},"extra_info":{"verifier":")" + name + "\"}}")
              .verifier() == name);
  }
}

TEST_CASE("byte order mark, CRLF and empty lines are accepted", "[data][jsonl]") {
  const ScratchFile file("\xEF\xBB\xBF" + std::string(kGsm) + "\r\n\r\n  \n" + kGsm);
  const Rows rows = read_rows(file.path(), RowFormat::kAuto, false);
  REQUIRE(rows.questions.size() == 2);
  CHECK(rows.questions[1].id() == 1);
  CHECK(rows.bad_rows == 0);
}

TEST_CASE("bad rows are all reported, or skipped and counted", "[data][jsonl]") {
  std::string content = std::string(kGsm) + "\n";
  for (int i = 0; i < 30; ++i) content += "nonsense\n";
  const ScratchFile file(content);
  const std::vector<std::string> problems = problems_of(file.path());
  REQUIRE(problems.size() == 21);
  CHECK(problems[0].starts_with(file.path() + ":2: "));
  CHECK(problems[19].starts_with(file.path() + ":21: "));
  CHECK_THAT(problems[20], Catch::Contains("10 more bad rows"));
  const Rows rows = read_rows(file.path(), RowFormat::kAuto, true);
  CHECK(rows.questions.size() == 1);
  CHECK(rows.bad_rows == 30);
  CHECK(rows.problems.size() == 20);
}

TEST_CASE("a line over one MiB is a bad row and the next one is read", "[data][jsonl]") {
  const ScratchFile file(std::string(3 << 20, 'x') + "\n" + kGsm + "\n" + std::string(2 << 20, ' '));
  const Rows rows = read_rows(file.path(), RowFormat::kAuto, true);
  CHECK(rows.questions.size() == 1);
  REQUIRE(rows.problems.size() == 2);
  CHECK(rows.problems[0].starts_with(file.path() + ":1: expected a line of at most 1 MiB"));
  CHECK(rows.problems[1].starts_with(file.path() + ":3: "));
}

TEST_CASE("files without any row are errors", "[data][jsonl]") {
  CHECK(problems_of(ScratchFile("").path()).size() == 1);
  CHECK(problems_of(ScratchFile("\n\n").path()).size() == 1);
  CHECK(problems_of("/nowhere/rows.jsonl").size() == 1);
  CHECK(problems_of("/tmp").size() == 1);
  CHECK_THROWS_AS(read_rows(ScratchFile("bad\n").path(), RowFormat::kAuto, true), InputError);
  CHECK(problems_of(ScratchFile(kGsm).path(), RowFormat::kVerl).size() == 1);
}

TEST_CASE("every GSM8K row is read, and its own solution passes", "[data][jsonl]") {
  for (const auto& [name, count] : {std::pair{"train", 7473u}, std::pair{"test", 1319u}}) {
    const auto path = test::real_data(std::string("gsm8k/") + name + ".jsonl");
    if (!path) continue;
    const Rows rows = read_rows(*path, RowFormat::kAuto, false);
    CHECK(rows.questions.size() == count);
    for (const records::Question& question : rows.questions) {
      if (question.solution().find("<<") != std::string::npos || question.solution().empty()) FAIL(question.solution());
      if (reward::verify(question, question.answer()) != records::CORRECT) FAIL(question.answer());
      if (reward::verify(question, "The answer is $" + question.answer() + ".") != records::CORRECT) FAIL(question.answer());
      if (reward::verify(question, question.ground_truth() + "1") != records::WRONG) FAIL(question.answer());
    }
  }
}
