#include "core/eval/completions.h"

#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "tests/core/base/temp_dir.h"
#include "tests/support/golden.h"

namespace cohort::eval {
namespace {

using nlohmann::json;

std::vector<QuestionScore> score(const TempDir& folder, const std::string& rows, const char* template_name = nullptr) {
  const std::string path = folder / "rows.jsonl";
  std::ofstream(path) << rows;
  return score_completions(path, data::RowFormat::kAuto, template_name == nullptr ? nullptr : &text::find_template(template_name));
}

std::string problem(const std::string& rows) {
  const TempDir folder;
  try {
    score(folder, rows);
  } catch (const InputError& error) {
    return error.problems().front();
  }
  return "";
}

void compare(const json& mine, const json& theirs) {
  for (const auto& [name, value] : theirs.items()) {
    INFO(name);
    if (name.find('@') == std::string::npos) continue;
    CHECK(mine.at(name).at("mean").get<double>() == Approx(value.get<double>()).margin(1e-12));
    CHECK(mine.at(name).at("low").get<double>() <= value.get<double>());
    CHECK(mine.at(name).at("high").get<double>() >= value.get<double>());
  }
}

TEST_CASE("recorded completions score as an independent script says", "[eval][completions]") {
  const json expected = parse_json(read_file(test::golden_path("eval/expected.json"), 1 << 20), "expected.json");
  const auto scores = score_completions(test::golden_path("eval/completions.jsonl"), data::RowFormat::kAuto, nullptr);
  const json mine = report(scores, 17, {.format = false, .language = false, .response_length = false});
  CHECK(mine["questions"] == expected["questions"]);
  CHECK(mine["samples_per_question"] == expected["samples_per_question"]);
  CHECK(mine["undecided"] == 0);
  CHECK_FALSE(mine.contains("format"));
  compare(mine, expected);
  for (const char* source : {"aime", "gsm8k"}) {
    CHECK(mine["sources"][source]["questions"] == expected["sources"][source]["questions"]);
    compare(mine["sources"][source], expected["sources"][source]);
  }
}

TEST_CASE("what of a completion answers", "[eval][completions]") {
  const TempDir folder;
  const std::string row =
      R"({"question": "q", "ground_truth": "5", "completions": ["5", "it is 5", "<think>5</think>6", "<think>6</think>5",
          "<answer>5</answer> and 6", "\\boxed{5} of 6", "6", "none", "<think>it is 5", "<think>6</think>5<think>no, 5"]})";
  const auto scores = score(folder, json::parse(row).dump());
  REQUIRE(scores.size() == 1);
  CHECK(scores[0].samples == 10);
  CHECK(scores[0].correct == 5);
  CHECK(scores[0].majority_correct);
  // Under a template, what the template says is an answer, and in what form.
  const auto strict =
      score(folder, R"({"question": "q", "ground_truth": "5", "completions": ["<think>a</think><answer>5</answer>", "5"]})", "r1_zero");
  CHECK(strict[0].correct == 1);
  CHECK(strict[0].format == 1.0);
}

TEST_CASE("rows that cannot be scored are refused", "[eval][completions]") {
  CHECK_THAT(problem(R"({"question": "q", "ground_truth": "5"})"), Catch::Contains("rows.jsonl:1: expected completions or responses"));
  CHECK_THAT(problem(R"({"question": "q", "ground_truth": "5", "completions": [], "responses": []})"), Catch::Contains("found both"));
  CHECK_THAT(problem(R"({"question": "q", "ground_truth": "5", "completions": []})"), Catch::Contains("found 0"));
  CHECK_THAT(problem(R"({"question": "q", "ground_truth": "5", "completions": "5"})"), Catch::Contains("found string"));
  CHECK_THAT(problem(R"({"question": "q", "ground_truth": "5", "completions": ["5", 5]})"), Catch::Contains("completions[1]"));
  CHECK_THAT(problem(R"({"prompt": "q", "completion": "x", "completions": ["5"]})"), Catch::Contains("an answer to compare with"));
  CHECK_THAT(problem("bad"), Catch::Contains("rows.jsonl:1: "));
  CHECK_THAT(problem(""), Catch::Contains("at least one row"));
  CHECK_THAT(problem(R"({"question": "q", "ground_truth": "5", "completions": ["5"]}
{"question": "q", "ground_truth": "5", "completions": ["5", "6"]})"),
             Catch::Contains("rows.jsonl:2: expected 1 completions as in the first row, found 2"));
}

}  // namespace
}  // namespace cohort::eval
