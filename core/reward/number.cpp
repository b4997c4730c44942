#include "core/reward/number.h"

#include <algorithm>

#include "core/text/utf8.h"

namespace cohort::reward {
namespace {

constexpr std::string_view kMinusSign = "\xE2\x88\x92";  // U+2212
constexpr std::string_view kTimes = "\xC3\x97";          // U+00D7
constexpr std::string_view kDivided = "\xC3\xB7";        // U+00F7

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool all_digits(std::string_view text) { return !text.empty() && std::all_of(text.begin(), text.end(), is_digit); }

/// 1,234,567: a first group of one to three digits, then groups of three.
bool is_grouped(std::string_view whole) {
  size_t comma = whole.find(',');
  if (comma == std::string_view::npos || comma > 3 || !all_digits(whole.substr(0, comma))) return false;
  while (comma < whole.size()) {
    const std::string_view group = whole.substr(comma + 1, 3);
    if (group.size() != 3 || !all_digits(group)) return false;
    comma += 4;
    if (comma < whole.size() && whole[comma] != ',') return false;
  }
  return true;
}

/// Digits with an optional fraction and optional thousands commas.
NumberStatus parse_unsigned(std::string_view text, Decimal& number) {
  const size_t point = std::min(text.find('.'), text.size());
  const std::string_view whole = text.substr(0, point);
  const std::string_view fraction = point == text.size() ? std::string_view{} : text.substr(point + 1);
  if (!whole.empty() && !all_digits(whole) && !is_grouped(whole)) return NumberStatus::kNone;
  if (point < text.size() && !all_digits(fraction)) return NumberStatus::kNone;
  if (whole.empty() && fraction.empty()) return NumberStatus::kNone;
  number.whole = whole;
  std::erase(number.whole, ',');
  number.fraction = fraction;
  if (number.whole.size() + number.fraction.size() > kMaxNumberDigits) return NumberStatus::kTooLong;
  number.whole.erase(0, std::min(number.whole.find_first_not_of('0'), number.whole.size()));
  number.fraction.erase(number.fraction.find_last_not_of('0') + 1);
  if (number.whole.empty() && number.fraction.empty()) number.negative = false;
  return NumberStatus::kFound;
}

/// Takes `ending` off the end of the text where it is there.
bool drop_ending(std::string_view& text, std::string_view ending) {
  if (!text.ends_with(ending)) return false;
  text.remove_suffix(ending.size());
  return true;
}

bool drop_operator(std::string_view& text) {
  for (const std::string_view symbol : {std::string_view("+"), std::string_view("-"), std::string_view("*"), std::string_view("/"),
                                        std::string_view("^"), kMinusSign, kTimes, kDivided}) {
    if (drop_ending(text, symbol)) return true;
  }
  return false;
}

/// Takes characters of `set` off the end; says whether there were any.
bool drop_any_of(std::string_view& text, std::string_view set) {
  const size_t size = text.size();
  text.remove_suffix(size - (text.find_last_not_of(set) + 1));
  return text.size() < size;
}

/// Whether what stands before a number makes it an operand: an operator with an operand before it, or an operand right before it.
bool continues_expression(std::string_view before) {
  const bool apart = drop_any_of(before, " \t\n$");
  const bool bracket = drop_any_of(before, "{([ $");
  bool has_operator = false;
  while (drop_operator(before)) has_operator = true;
  const bool spaced = drop_any_of(before, " \t\n") || apart;
  if (before.empty()) return false;
  const char last = before.back();
  if (has_operator) return is_digit(last) || last == ')' || last == '}' || (is_letter(last) && !spaced);
  if (spaced) return false;
  return last == '}' || (!bracket && (is_letter(last) || last == ')'));
}

/// Where the run of digits, commas and points that ends at `end` begins. Commas and points belong to it only between digits, and a
/// point also where it opens the number.
size_t number_start(std::string_view text, size_t end) {
  size_t start = end;
  while (start > 0) {
    const char c = text[start - 1];
    const bool after_digit = start >= 2 && is_digit(text[start - 2]);
    const bool opens = c == '.' && (start < 2 || (!is_letter(text[start - 2]) && text[start - 2] != '.'));
    if (!is_digit(c) && !((c == ',' || c == '.') && after_digit) && !opens) break;
    --start;
    if (opens && !after_digit) break;
  }
  return start;
}

}  // namespace

NumberStatus parse_decimal(std::string_view text, Decimal& number) {
  std::string_view digits = text::trim(text);
  number = {};
  if (digits.starts_with('-')) {
    number.negative = true;
    digits.remove_prefix(1);
  }
  return parse_unsigned(digits, number);
}

NumberStatus last_decimal(std::string_view text, Decimal& number) {
  number = {};
  const size_t last = text.find_last_of("0123456789");
  if (last == std::string_view::npos) return NumberStatus::kNone;
  size_t start = number_start(text, last + 1);
  std::string_view token = text.substr(start, last + 1 - start);
  // Commas that do not group thousands separate the elements of a list; only the last one is the answer.
  const size_t comma = token.rfind(',');
  const size_t point = std::min(token.find('.'), token.size());
  if (comma != std::string_view::npos && comma < point && !is_grouped(token.substr(0, point))) {
    token.remove_prefix(comma + 1);
    return parse_unsigned(token, number);
  }
  std::string_view before = text.substr(0, start);
  if (continues_expression(before)) return NumberStatus::kNone;
  drop_ending(before, "$");
  number.negative = drop_ending(before, "-") || drop_ending(before, kMinusSign);
  return parse_unsigned(token, number);
}

}  // namespace cohort::reward
