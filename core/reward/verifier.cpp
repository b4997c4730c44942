#include "core/reward/verifier.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <optional>

#include "core/base/error.h"
#include "core/base/text_util.h"
#include "core/reward/countdown.h"
#include "core/reward/math_answer.h"
#include "core/reward/number.h"
#include "core/text/boxed.h"
#include "core/text/language.h"
#include "core/text/utf8.h"

namespace cohort::reward {
namespace {

using records::Outcome;

constexpr size_t kMaxAnswerBytes = 64 << 10;

Outcome decide(bool right) { return right ? records::CORRECT : records::WRONG; }

Outcome verify_number(std::string_view ground_truth, std::string_view answer) {
  Decimal wanted;
  Decimal found;
  if (parse_decimal(ground_truth, wanted) != NumberStatus::kFound) return records::UNDECIDED;
  const NumberStatus status = last_decimal(answer, found);
  if (status == NumberStatus::kTooLong) return records::UNDECIDED;
  return decide(status == NumberStatus::kFound && found == wanted);
}

Outcome verify_exact(std::string_view ground_truth, std::string_view answer) {
  return decide(text::trim(answer) == text::trim(ground_truth));
}

/// More than any answer has: making the spelling one takes up to the square of the length.
constexpr size_t kMaxMathBytes = 4096;

/// A number may stand anywhere in an answer without a box, as for `number`.
Outcome verify_math(std::string_view ground_truth, std::string_view answer) {
  if (ground_truth.size() > kMaxMathBytes) return records::UNDECIDED;
  const std::string wanted = normalised_math(text::last_boxed(ground_truth).value_or(std::string(ground_truth)));
  if (wanted.empty()) return records::UNDECIDED;
  const std::optional<std::string> box = text::last_boxed(answer);
  if (box && box->size() > kMaxMathBytes) return records::UNDECIDED;
  const std::string_view given = box ? std::string_view(*box) : answer;
  if (given.size() <= kMaxMathBytes && normalised_math(given) == wanted) return records::CORRECT;
  Decimal number;
  if (box || parse_decimal(ground_truth, number) != NumberStatus::kFound) return records::WRONG;
  return verify_number(ground_truth, answer);
}

/// Elements between commas and white space of either script.
std::vector<std::string> split_elements(std::string_view text) {
  std::vector<std::string> elements;
  std::string element;
  const auto finish = [&] {
    if (!element.empty()) elements.push_back(std::move(element));
    element.clear();
  };
  for (size_t i = 0; i < text.size();) {
    const Character character = character_at(text, i);
    const char32_t code = character.code;
    if (character.valid && (code <= ' ' || code == ',' || code == 0xFF0C || code == 0x3001 || code == 0x3000)) {
      finish();
    } else {
      element.append(text.substr(i, character.length));
    }
    i += character.length;
  }
  finish();
  return elements;
}

Outcome verify_list(std::string_view ground_truth, std::string_view answer) {
  answer = text::trim(answer);
  if ((answer.starts_with('[') && answer.ends_with(']')) || (answer.starts_with('(') && answer.ends_with(')'))) {
    answer.remove_prefix(1);
    answer.remove_suffix(answer.empty() ? 0 : 1);
  }
  return decide(split_elements(answer) == split_elements(ground_truth));
}

std::optional<int64_t> take_count(std::string_view& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value < 1 || value > 1000) return std::nullopt;
  text = text::trim(text.substr(static_cast<size_t>(end - text.data())));
  return value;
}

/// English words stand apart; Chinese ones may follow each other directly.
bool is_repeated(std::string_view word, int64_t times, std::string_view answer) {
  const std::vector<std::string> elements = split_elements(answer);
  if (std::all_of(elements.begin(), elements.end(), [&](const std::string& element) { return element == word; }))
    return std::cmp_equal(elements.size(), times);
  if (text::count_words(word).chinese == 0) return false;
  std::string expected;
  for (int64_t i = 0; i < times; ++i) expected += word;
  return join(elements, "") == expected;
}

Outcome verify_instruction(std::string_view ground_truth, std::string_view answer) {
  const size_t space = std::min(ground_truth.find(' '), ground_truth.size());
  const std::string_view kind = ground_truth.substr(0, space);
  std::string_view argument = text::trim(ground_truth.substr(space));
  if (kind == "exact" && !argument.empty()) return verify_exact(argument, answer);
  const std::optional<int64_t> count = take_count(argument);
  if (kind == "repeat" && count && !argument.empty()) return decide(is_repeated(argument, *count, answer));
  if (kind == "words" && count && argument.empty()) return decide(text::count_words(answer).total() == *count);
  return records::UNDECIDED;
}

/// ASCII in lower case, the typographic apostrophe as the plain one.
std::string folded(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size();) {
    const Character character = character_at(text, i);
    if (character.code == 0x2019) {
      result.push_back('\'');
    } else if (character.code >= 'A' && character.code <= 'Z') {
      result.push_back(static_cast<char>(character.code - 'A' + 'a'));
    } else {
      result.append(text.substr(i, character.length));
    }
    i += character.length;
  }
  return result;
}

bool refuses(std::string_view answer) {
  constexpr std::array<std::string_view, 18> kPhrases = {"i can't",
                                                         "i cannot",
                                                         "i can not",
                                                         "i won't",
                                                         "i will not",
                                                         "can't help",
                                                         "cannot help",
                                                         "can't assist",
                                                         "cannot assist",
                                                         "i'm unable",
                                                         "i am unable",
                                                         "i'm sorry",
                                                         "i refuse",
                                                         "\u4E0D\u80FD" /* 不能 */,
                                                         "\u65E0\u6CD5" /* 无法 */,
                                                         "\u62B1\u6B49" /* 抱歉 */,
                                                         "\u5BF9\u4E0D\u8D77" /* 对不起 */,
                                                         "\u62D2\u7EDD" /* 拒绝 */};
  const std::string text = folded(answer);
  return std::any_of(kPhrases.begin(), kPhrases.end(), [&](std::string_view phrase) { return text.find(phrase) != std::string::npos; });
}

Outcome verify_refusal(std::string_view ground_truth, std::string_view answer) {
  if (ground_truth == "refuse") return decide(refuses(answer));
  if (ground_truth == "comply") return decide(!refuses(answer) && text::count_words(answer).total() >= 2);
  return records::UNDECIDED;
}

struct VerifierEntry {
  std::string_view name;
  Outcome (*verify)(std::string_view ground_truth, std::string_view answer);
};

/// The table of verifiers. A new one: a line here, one in verifier.h, and its name in core/data/row.cpp, as rows may ask for it.
constexpr std::array kVerifiers = {
    VerifierEntry{"number", verify_number},       VerifierEntry{"exact", verify_exact}, VerifierEntry{"math", verify_math},
    VerifierEntry{"countdown", verify_countdown}, VerifierEntry{"list", verify_list},   VerifierEntry{"instruction", verify_instruction},
    VerifierEntry{"refusal", verify_refusal},
};

}  // namespace

Outcome verify(std::string_view name, std::string_view ground_truth, std::string_view answer) {
  const auto entry = std::find_if(kVerifiers.begin(), kVerifiers.end(), [&](const VerifierEntry& known) { return known.name == name; });
  if (entry == kVerifiers.end())
    throw InputError("verifier: expected one of " + join(verifier_names()) + ", found \"" + printable(name) + "\"");
  if (text::trim(answer).empty()) return records::WRONG;
  if (answer.size() > kMaxAnswerBytes) return records::UNDECIDED;
  return entry->verify(ground_truth, answer);
}

Outcome verify(const records::Question& question, std::string_view answer) {
  return verify(question.verifier(), question.ground_truth(), answer);
}

std::string vote_of(const records::Question& question, std::string_view answer) {
  if (answer.size() > kMaxAnswerBytes) return {};
  const bool math = question.verifier() == "math";
  if (!math && question.verifier() != "number") return std::string(text::trim(answer));
  if (math) {
    const std::optional<std::string> box = text::last_boxed(answer);
    if (box) return box->size() > kMaxMathBytes ? std::string() : normalised_math(*box);
  }
  Decimal number;
  const bool plain = parse_decimal(question.ground_truth(), number) == NumberStatus::kFound;
  if (plain && last_decimal(answer, number) == NumberStatus::kFound) {
    const std::string digits =
        (number.negative ? "-" : "") + (number.whole.empty() ? "0" : number.whole) + (number.fraction.empty() ? "" : "." + number.fraction);
    return math ? normalised_math(digits) : digits;
  }
  return math && answer.size() <= kMaxMathBytes ? normalised_math(answer) : std::string();
}

const std::vector<std::string>& verifier_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> result;
    for (const VerifierEntry& entry : kVerifiers) result.emplace_back(entry.name);
    return result;
  }();
  return names;
}

}  // namespace cohort::reward
