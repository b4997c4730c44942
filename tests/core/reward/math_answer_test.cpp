#include "core/reward/math_answer.h"

#include <catch2/catch.hpp>

#include "core/reward/verifier.h"

namespace cohort::reward {
namespace {

records::Outcome check(const std::string& truth, const std::string& answer) { return verify("math", truth, answer); }

TEST_CASE("spellings of one answer are one", "[reward][math]") {
  const auto [first, second] = GENERATE(table<std::string, std::string>({
      {"\\frac{1}{2}", "\\dfrac12"},
      {"\\frac{1}{2}", "\\tfrac{2}{4}"},
      {"\\frac{1}{2}", "0.5"},
      {"\\frac{1}{2}", ".50"},
      {"\\frac{1}{2}", "1/2"},
      {"-\\frac{1}{2}", "\\frac{-1}{2}"},
      {"-\\frac{1}{2}", "\\frac{1}{-2}"},
      {"25", "025"},
      {"25", "25.0"},
      {"1072", "1,072"},
      {"3", "\\frac{6}{2}"},
      {"\\left( 3, \\frac{\\pi}{2} \\right)", "(3,\\frac\\pi2)"},
      {"5", "x = 5"},
      {"90", "90^\\circ"},
      {"90", "90^{\\circ}"},
      {"12", "$12$"},
      {"12", "\\$12"},
      {"15", "15\\%"},
      {"10", "10\\text{ cm}"},
      {"10", "10 \\mathrm{cm}^2"},
      {"73", "\\textbf{(073) }"},
      {"Evelyn", "\\text{Evelyn}"},
      {"\\text{A}, \\text{B}", "A,B"},
      {"10\\text{ AM}", "10AM"},
      {"99\\pi", "99\\pi \\text{ square inches}"},
      {"3x", "3x\\text{ cm}"},
      {"2x\\text{ or }3", "2xor3"},
      {"2\\sqrt3", "2\\sqrt{3}"},
      {"\\{1,2\\}", "\\left\\{ 1,\\! 2 \\right\\}"},
  }));
  INFO(first << " and " << second);
  if (second == "10 \\mathrm{cm}^2") {
    CHECK(check(first, second) == records::WRONG);  // a unit with a power is not taken off
    return;
  }
  if (second == "(3,\\frac\\pi2)") {
    CHECK(check(first, second) == records::WRONG);  // arguments that are commands stay as they are
    return;
  }
  CHECK(normalised_math(first) == normalised_math(second));
  CHECK(check(first, "Thus \\boxed{" + second + "}") == records::CORRECT);
  CHECK(check(second, "\\boxed{" + first + "}") == records::CORRECT);
}

TEST_CASE("other answers are other answers", "[reward][math]") {
  CHECK(check("\\frac{1}{2}", "\\boxed{\\frac{2}{1}}") == records::WRONG);
  CHECK(check("25", "\\boxed{52}") == records::WRONG);
  CHECK(check("A, \\text{B}", "\\boxed{A,\\text{C}}") == records::WRONG);
  CHECK(check("10\\text{ AM}", "\\boxed{10\\text{ PM}}") == records::WRONG);
  CHECK(check("-3", "\\boxed{3}") == records::WRONG);
  CHECK(check("(1,2)", "\\boxed{(2,1)}") == records::WRONG);
  CHECK(check("x+1", "\\boxed{1+x}") == records::WRONG);  // no algebra
  CHECK(check("25", "") == records::WRONG);
  CHECK(check("25", "\\boxed{25") == records::WRONG);
  CHECK(check(" ", "\\boxed{25}") == records::UNDECIDED);
  CHECK(check("x", "\\boxed{" + std::string(70000, 'x') + "}") == records::UNDECIDED);
  CHECK(check("x", "\\boxed{" + std::string(5000, 'x') + "}") == records::UNDECIDED);
  CHECK(check("x", std::string(5000, 'x')) == records::WRONG);  // rambling is no way out of a punishment
  CHECK(check(std::string(5000, 'x'), "\\boxed{x}") == records::UNDECIDED);
  CHECK(check("\\frac{1}{0}", "\\boxed{\\frac{2}{0}}") == records::WRONG);
  CHECK(check("9223372036854775807/2", "\\boxed{-9223372036854775808/2}") == records::WRONG);
}

TEST_CASE("without a box a number may stand anywhere, other answers alone", "[reward][math]") {
  CHECK(check("25", "So it is 25.") == records::CORRECT);
  CHECK(check("25", "25 or 26") == records::WRONG);
  CHECK(check("\\frac{1}{2}", "\\frac{1}{2}") == records::CORRECT);
  CHECK(check("\\frac{1}{2}", "So it is \\frac{1}{2}") == records::WRONG);
  CHECK(check("\\boxed{25}", "25") == records::CORRECT);
}

TEST_CASE("hostile answers take linear time and no stack", "[reward][math]") {
  for (const char* piece : {"\\frac", "\\text{", "{", "\\sqrt{", "\\left", "}", "\\boxed{", "$", "="}) {
    std::string text;
    while (text.size() < 60000) text += piece;
    INFO(piece);
    CHECK(check("1", text) != records::CORRECT);
    CHECK(check("1", "\\boxed{" + text + "}") != records::CORRECT);
  }
}

TEST_CASE("answers that are the same vote together", "[reward][math]") {
  records::Question question;
  question.set_verifier("math");
  question.set_ground_truth("025");
  CHECK(vote_of(question, "\\boxed{25}") == "25");
  CHECK(vote_of(question, "It is 025.") == "25");
  CHECK(vote_of(question, "\\boxed{\\frac{50}{2}}") == "25");
  CHECK(vote_of(question, " ") == "");
  question.set_ground_truth("0.5");
  CHECK(vote_of(question, "It is 0.50") == vote_of(question, "\\boxed{\\frac12}"));
  CHECK(vote_of(question, "\\boxed{" + std::string(5000, '1') + "}") == "");
  question.set_ground_truth("x");
  CHECK(vote_of(question, "\\boxed{ y }") == "y");
  question.set_verifier("number");
  question.set_ground_truth("7");
  CHECK(vote_of(question, "It is 1,072.50 dollars") == "1072.5");
  CHECK(vote_of(question, "-0") == "0");
  CHECK(vote_of(question, "no idea") == "");
  question.set_verifier("list");
  CHECK(vote_of(question, " 3 7 ") == "3 7");
}

}  // namespace
}  // namespace cohort::reward
