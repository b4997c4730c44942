#include "core/data/row.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/data/jsonl.h"
#include "core/data/prompt.h"
#include "core/data/row_reader.h"
#include "core/reward/verifier.h"
#include "core/text/boxed.h"
#include "tests/support/golden.h"

namespace cohort::data {
namespace {

records::Question parse(const std::string& line, RowFormat format = RowFormat::kAuto) { return parse_row(line, format, "f:1"); }

TEST_CASE("MATH's rows: an answer, or the last box of the solution", "[data][row]") {
  const records::Question answer = parse(R"({"problem": "How many?", "answer": "\\frac{1}{2}", "level": 5, "subject": "Algebra"})");
  CHECK(answer.text() == "How many?");
  CHECK(answer.ground_truth() == "\\frac{1}{2}");
  CHECK(answer.verifier() == "math");
  CHECK(answer.source() == "math");
  CHECK(answer.level() == 5);
  const records::Question boxed =
      parse(R"({"problem": "How many?", "solution": "\\boxed{1}, no, \\boxed{\\frac{3}{4}}.", "level": "Level 3", "data_source": "own"})");
  CHECK(boxed.ground_truth() == "\\frac{3}{4}");
  CHECK(boxed.solution() == "\\boxed{1}, no, \\boxed{\\frac{3}{4}}.");
  CHECK(boxed.level() == 3);
  CHECK(boxed.source() == "own");
  // AIME's rows have question and answer, too.
  const records::Question aime = parse(R"({"problem": "p", "question": "p", "solution": "s", "answer": "025"})");
  CHECK(reward::verify(aime, "It is \\boxed{25}.") == records::CORRECT);
  CHECK(reward::verify(aime, "It is 025") == records::CORRECT);
  CHECK(reward::verify(aime, "It is 250") == records::WRONG);
  CHECK(parse(R"({"problem": "a", "answer": 7, "level": "hard"})").ground_truth() == "7");
}

TEST_CASE("TRL's rows: a ground truth in one of three columns, or a completion", "[data][row]") {
  const records::Question plain = parse(R"({"prompt": "2+2?", "answer": "4", "solution": "two and two"})");
  CHECK(plain.text() == "2+2?");
  CHECK(plain.ground_truth() == "4");
  CHECK(plain.verifier() == "math");
  CHECK(plain.source() == "trl");
  const records::Question worked =
      parse(R"({"prompt": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}], "solution": "So <<1+1=2>>2.\n#### 2"})");
  CHECK(worked.ground_truth() == "2");
  CHECK(worked.turns_size() == 1);
  CHECK(parse(R"({"prompt": "p", "solution": "$\\boxed{x}$"})").ground_truth() == "x");
  CHECK(parse(R"({"prompt": "p", "ground_truth": "1,072", "verifier": "number"})").ground_truth() == "1072");
  CHECK(parse(R"({"question": "p", "ground_truth": 3})").ground_truth() == "3");
  CHECK(parse(R"({"question": "p", "ground_truth": 3, "answer": "as read: 4"})").ground_truth() == "3");
  CHECK(plain.solution() == "two and two");
  CHECK(worked.solution() == "So 2.");
  // A headline marks no answer where there is a box; what comes after the line is not of it.
  CHECK(parse(R"({"prompt": "p", "solution": "#### First\nSo \\boxed{5}."})").ground_truth() == "5");
  CHECK(parse(R"({"prompt": "p", "solution": "So \\boxed{5}.\n#### Conclusion"})").ground_truth() == "5");
  CHECK(parse(R"({"prompt": "p", "answer": "He has 24.\n#### 24\nDone."})").ground_truth() == "24");
  CHECK(parse(R"({"prompt": "p", "answer": "So \\boxed{5} and\n#### 1,024"})").ground_truth() == "1,024");
  const records::Question both = parse(R"({"question": "p", "answer": "Half: <<48/2=24>>24\n#### 24", "ground_truth": "24"})");
  CHECK(both.ground_truth() == "24");
  CHECK(both.solution() == "Half: 24");
  const records::Question learned =
      parse(R"({"prompt": "Say hi.", "completion": [{"role": "assistant", "content": "<think>a</think>\nHi."}]})");
  CHECK(learned.solution() == "a");
  CHECK(learned.answer() == "Hi.");
  CHECK(learned.verifier().empty());
}

TEST_CASE("a thought is learned as one, also without the tag that its prompt had", "[data][row]") {
  const auto learned = [](const std::string& text) { return parse(nlohmann::json({{"prompt", "p"}, {"completion", text}}).dump()); };
  const records::Question prefilled = learned("\nadd 1\n</think>\n\n**2**");
  CHECK(prefilled.solution() == "add 1");
  CHECK(prefilled.answer() == "**2**");
  CHECK(learned("a</think>b <think>c</think>").solution() == "a");
  CHECK(learned("a <think>b</think> c").solution().empty());  // it does not begin with a thought
  CHECK(learned("a <think>b</think> c").answer() == "a <think>b</think> c");
  CHECK(learned("</think>b").answer() == "b");
  CHECK_THROWS_WITH(learned("a</think> "), Catch::Contains("expected an answer"));
}

TEST_CASE("conversations: the last assistant message is learned", "[data][row]") {
  const std::string row =
      GENERATE(as<std::string>(),
               R"({"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "A"}, {"role": "assistant", "content": "B"},
                       {"role": "user", "content": "C"}, {"role": "assistant", "content": "D"}]})",
               R"({"conversations": [{"from": "system", "value": "S"}, {"from": "human", "value": "A"}, {"from": "gpt", "value": "B"},
                            {"from": "human", "value": "C"}, {"from": "gpt", "value": "D"}]})");
  const records::Question question = parse(row);
  CHECK(question.text() == "C");
  CHECK(question.answer() == "D");
  CHECK(question.solution().empty());
  REQUIRE(question.turns_size() == 3);
  CHECK(question.turns(0).role() == "system");
  CHECK(question.turns(2).role() == "assistant");
  CHECK(question.turns(2).content() == "B");
  CHECK(whole_text(question) == "S\nA\nB\nC");
  CHECK_THROWS_WITH(render_prompt(question, text::find_template("plain"), text::ByteTokenizer()), Catch::Contains("found 4 messages"));
}

TEST_CASE("a system message is the first line of a template with one text", "[data][row]") {
  const text::ByteTokenizer tokenizer;
  const text::PromptTemplate& plain = text::find_template("plain");
  const records::Question question = parse(
      R"({"data_source":"a","prompt":[{"role":"system","content":"S"},{"role":"user","content":"U"}],"reward_model":{"ground_truth":"1"}})");
  CHECK(render_prompt(question, plain, tokenizer) == plain.render("S\nU", tokenizer));
  CHECK(prompt_length(plain, tokenizer)(question) == 3);
}

TEST_CASE("rows that are no question are refused with their place", "[data][row]") {
  const std::string bad = GENERATE(
      as<std::string>(), R"({"problem": "p"})", R"({"problem": "p", "answer": null})", R"({"problem": "p", "answer": " "})",
      R"({"problem": "p", "solution": "no box"})", R"({"problem": "p", "solution": "\\boxed{open"})", R"({"problem": 3, "answer": "1"})",
      R"({"prompt": "p"})", R"({"prompt": "p", "answer": [1]})", R"({"prompt": "p", "answer": "x", "verifier": "number"})",
      R"({"prompt": "p", "answer": "x", "verifier": "magic"})", R"({"prompt": "p", "completion": " "})",
      R"({"prompt": "p", "completion": [{"role": "user", "content": "x"}]})", R"({"messages": []})", R"({"messages": "x"})",
      R"({"messages": [{"role": "user", "content": "x"}]})", R"({"messages": [{"role": "assistant", "content": "x"}]})",
      R"({"messages": [{"role": "system", "content": "x"}, {"role": "assistant", "content": "x"}]})",
      R"({"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": "x"}, {"role": "assistant", "content": "x"}]})",
      R"({"messages": [{"role": "user", "content": "x"}, {"role": "tool", "content": "x"}, {"role": "assistant", "content": "x"}]})",
      R"({"messages": [{"role": "user", "content": "x"}, {"role": "system", "content": "x"}, {"role": "assistant", "content": "x"}]})",
      R"({"messages": [{"role": "user", "content": " "}, {"role": "assistant", "content": "x"}]})",
      R"({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": ["x"]}]})");
  INFO(bad);
  CHECK_THROWS_WITH(parse(bad), Catch::StartsWith("f:1"));
}

TEST_CASE("hidden tests are refused for want of a sandbox", "[data][row]") {
  CHECK_THROWS_WITH(parse(R"({"task_id": "HumanEval/0", "prompt": "def f():", "test": "def check(f): pass", "entry_point": "f"})"),
                    Catch::Contains("sandbox"));
}

TEST_CASE("a question written in verl's form reads back", "[data][row]") {
  const std::string row = GENERATE(
      as<std::string>(), R"({"question": "How many?", "answer": "So <<1=1>>1.\n#### 1,072"})",
      R"({"problem": "p \"q\" 多少", "solution": "s \\boxed{\\frac12}"})", R"({"prompt": "p", "answer": "4", "data_source": "own"})",
      R"({"prompt": "p", "completion": "<think>a</think>b"})", R"({"prompt": "p", "completion": "a</think>b</think>c"})",
      R"({"prompt": "p", "completion": "</think>b</think>c"})",
      R"({"data_source":"a","prompt":[{"role":"system","content":"S"},{"role":"user","content":"U"}],"reward_model":{"ground_truth":"1 2"},
          "extra_info":{"verifier":"list","language":"zh"}})",
      R"({"messages": [{"role": "user", "content": "A"}, {"role": "assistant", "content": "B"}, {"role": "user", "content": "C"},
                       {"role": "assistant", "content": "D"}]})");
  INFO(row);
  records::Question first = parse(row);
  const records::Question second = parse(row_of(first).dump());
  first.clear_level();
  CHECK(second.SerializeAsString() == first.SerializeAsString());
}

TEST_CASE("the last box, with its braces", "[text][boxed]") {
  CHECK(text::last_boxed("a \\boxed{1} b \\boxed{\\frac{1}{2}} c") == "\\frac{1}{2}");
  CHECK(text::last_boxed("\\boxed{1} then \\fbox{ 2 }") == "2");
  CHECK(text::last_boxed("$\\boxed 7$.") == "7");
  CHECK(text::last_boxed("\\boxed{\\left\\{1,2\\right\\}}") == "\\left\\{1,2\\right\\}");
  CHECK(text::last_boxed("\\boxed{open") == "");
  CHECK(text::last_boxed("\\boxed") == "");
  CHECK_FALSE(text::last_boxed("none").has_value());
  CHECK(text::last_boxed("\\boxed{" + std::string(100000, '{') + std::string(100000, '}') + "}")->size() == 200000);
}

struct RealFile {
  const char* path;
  uint64_t rows;
  uint64_t bad;  // without an answer
};

TEST_CASE("every row of MATH, MATH-500 and AIME is read, and its own solution passes", "[data][row]") {
  const RealFile file = GENERATE(RealFile{"math500/test.jsonl", 500, 0}, RealFile{"math/test.jsonl", 5000, 0},
                                 RealFile{"math/train.jsonl", 7470, 4}, RealFile{"aime24/test.jsonl", 30, 0});
  INFO(file.path);
  const auto path = test::real_data(file.path);
  if (!path) return;
  const Rows rows = read_rows(*path, RowFormat::kAuto, true);
  CHECK(rows.questions.size() == file.rows);
  CHECK(rows.bad_rows == file.bad);
  uint64_t passed = 0, mistaken = 0, different = 0;
  for (size_t i = 0; i < rows.questions.size(); ++i) {
    const records::Question& question = rows.questions[i];
    passed += reward::verify(question, "So the answer is \\boxed{" + question.ground_truth() + "}.") == records::CORRECT;
    if (!question.solution().empty() && text::last_boxed(question.solution()))
      different += reward::verify(question, question.solution()) != records::CORRECT;
    const records::Question& next = rows.questions[(i + 1) % rows.questions.size()];
    mistaken += next.ground_truth() != question.ground_truth() &&
                reward::verify(question, "\\boxed{" + next.ground_truth() + "1}") == records::CORRECT;
  }
  CHECK(passed == rows.questions.size());
  CHECK(different == 0);
  CHECK(mistaken <= rows.questions.size() / 100);  // where the next answer with a 1 behind it is by chance this one
}

}  // namespace
}  // namespace cohort::data
