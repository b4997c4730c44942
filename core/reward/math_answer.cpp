#include "core/reward/math_answer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <numeric>
#include <optional>

#include "core/reward/number.h"
#include "core/text/boxed.h"
#include "core/text/utf8.h"

namespace cohort::reward {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  std::string result;
  size_t at = 0;
  for (size_t found = text.find(from); found != std::string::npos; found = text.find(from, at)) {
    result.append(text, at, found - at).append(to);
    at = found + from.size();
  }
  text = result.append(text, at);
}

/// A command of letters, which must end there: \left but not \leftarrow.
void replace_command(std::string& text, std::string_view command, std::string_view to) {
  std::string result;
  for (size_t at = 0; at < text.size();) {
    const bool here = text.compare(at, command.size(), command) == 0;
    const size_t end = at + command.size();
    if (here && (end >= text.size() || !is_letter(text[end]))) {
      result.append(to);
      at = end;
    } else {
      result.push_back(text[at++]);
    }
  }
  text = result;
}

/// Whether a quantity may end the text: a number, \pi or a variable, but no word.
bool ends_a_quantity(std::string_view text) {
  if (text.empty()) return false;
  if (text.ends_with("\\pi") || std::string_view("0123456789})$").find(text.back()) != std::string_view::npos) return true;
  return is_letter(text.back()) && (text.size() == 1 || (!is_letter(text[text.size() - 2]) && text[text.size() - 2] != '\\'));
}

/// Whether what stands in braces behind a quantity is its unit: "10\text{ cm}", but neither "\text{A}, \text{B}" nor "10\text{ AM}".
bool may_be_unit(std::string_view text, size_t at, size_t open, size_t end) {
  const std::string_view before = text::trim(text.substr(0, at)), inside = text::trim(text.substr(open + 1, end - open - 2));
  if (!ends_a_quantity(before)) return false;
  for (const std::string_view half : {"AM", "PM", "am", "pm", "a.m.", "p.m.", "A.M.", "P.M."})
    if (inside == half) return false;
  return true;
}

/// The inside of \text{…} and the like without them. A unit at the end of a number goes.
void open_texts(std::string& text) {
  for (const std::string_view command : {"\\text{", "\\mbox{", "\\textbf{", "\\mathbf{", "\\mathrm{", "\\textrm{"}) {
    size_t from = 0;
    for (size_t at = text.find(command); at != std::string::npos; at = text.find(command, from)) {
      const size_t open = at + command.size() - 1;
      const size_t end = text::behind_braces(text, open);
      if (end == std::string::npos) return;
      const bool unit = end == text.size() && command != "\\textbf{" && command != "\\mathbf{" && may_be_unit(text, at, open, end);
      text = text.substr(0, at) + (unit ? "" : text.substr(open + 1, end - open - 2)) + text.substr(end);
      from = at;
    }
  }
}

/// Braces around the single-character arguments of a command: \frac12 → \frac{1}{2}, \sqrt3 → \sqrt{3}.
void brace_arguments(std::string& text, std::string_view command, int arguments) {
  std::string result;
  for (size_t at = 0; at < text.size();) {
    if (text.compare(at, command.size(), command) != 0) {
      result.push_back(text[at++]);
      continue;
    }
    result.append(command);
    at += command.size();
    for (int i = 0; i < arguments && at < text.size(); ++i) {
      if (text[at] == '{') {
        const size_t end = text::behind_braces(text, at);
        if (end == std::string::npos || i + 1 == arguments) break;  // the rest is looked at on the way on
        result.append(text, at, end - at);
        at = end;
      } else if (is_digit(text[at]) || is_letter(text[at])) {
        result.append("{").append(1, text[at++]).append("}");
      } else {
        break;
      }
    }
  }
  text = result;
}

/// 0. before a point that no digit is before.
void add_zeros(std::string& text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool opens = text[i] == '.' && (i == 0 || !is_digit(text[i - 1])) && i + 1 < text.size() && is_digit(text[i + 1]);
    if (opens) result.push_back('0');
    result.push_back(text[i]);
  }
  text = result;
}

std::optional<int64_t> whole_number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string fraction_text(int64_t numerator, int64_t denominator) {
  const int64_t divisor = std::gcd(numerator, denominator);
  numerator /= divisor, denominator /= divisor;
  if (denominator == 1) return std::to_string(numerator);
  const std::string minus = numerator < 0 ? "-" : "";
  return minus + "\\frac{" + std::to_string(std::abs(numerator)) + "}{" + std::to_string(denominator) + "}";
}

/// [-]\frac{a}{b} or [-]a/b of whole numbers, in lowest terms.
std::optional<std::string> as_fraction(std::string_view text) {
  constexpr std::string_view kFraction = "\\frac{";
  constexpr int64_t kMax = int64_t{1} << 62;
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  std::string_view above, below;
  if (text.starts_with(kFraction)) {
    const size_t middle = text.find("}{");
    if (middle == std::string_view::npos || !text.ends_with('}')) return std::nullopt;
    above = text.substr(kFraction.size(), middle - kFraction.size());
    below = text.substr(middle + 2, text.size() - middle - 3);
  } else {
    const size_t slash = text.find('/');
    if (slash == std::string_view::npos) return std::nullopt;
    above = text.substr(0, slash);
    below = text.substr(slash + 1);
  }
  const std::optional<int64_t> a = whole_number(above), b = whole_number(below);
  if (!a || !b || *b == 0 || *a > kMax || *a < -kMax || *b > kMax || *b < -kMax) return std::nullopt;
  const int64_t sign = (negative ? -1 : 1) * (*b < 0 ? -1 : 1);
  return fraction_text(sign * *a, std::abs(*b));
}

/// A decimal as digits, or as a fraction where it has a fractional part that fits.
std::optional<std::string> as_number(std::string_view text) {
  Decimal number;
  if (text.starts_with('+')) text.remove_prefix(1);
  if (parse_decimal(text, number) != NumberStatus::kFound) return std::nullopt;
  const std::string minus = number.negative ? "-" : "";
  if (number.fraction.empty()) return minus + (number.whole.empty() ? "0" : number.whole);
  if (number.whole.size() + number.fraction.size() <= 18) {
    int64_t denominator = 1;
    for (size_t i = 0; i < number.fraction.size(); ++i) denominator *= 10;
    return fraction_text((number.negative ? -1 : 1) * *whole_number(number.whole + number.fraction), denominator);
  }
  return minus + (number.whole.empty() ? "0" : number.whole) + "." + number.fraction;
}

/// "x=5" → "5": at most two characters before the only equals sign.
void drop_name(std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals > 2 || text.find('=', equals + 1) != std::string::npos) return;
  text.erase(0, equals + 1);
}

/// "(113)" → "113", as the official solutions of AIME have it.
void drop_brackets(std::string& text) {
  Decimal number;
  if (text.size() > 2 && text.front() == '(' && text.back() == ')' &&
      parse_decimal(std::string_view(text).substr(1, text.size() - 2), number) == NumberStatus::kFound &&
      text.find(',') == std::string::npos)
    text = text.substr(1, text.size() - 2);
}

void drop_dollars(std::string& text) {
  while (text.size() >= 2 && text.front() == '$' && text.back() == '$') text = text.substr(1, text.size() - 2);
}

}  // namespace

std::string normalised_math(std::string_view answer) {
  std::string text(text::trim(answer));
  drop_dollars(text);
  for (const std::string_view space : {"\\!", "\\,", "\\;", "\\:", "\\ "}) replace_all(text, space, "");
  for (const std::string_view command : {"\\left", "\\right", "\\displaystyle", "\\quad"}) replace_command(text, command, "");
  for (const std::string_view command : {"\\dfrac", "\\tfrac", "\\cfrac"}) replace_command(text, command, "\\frac");
  for (const std::string_view degrees : {"^{\\circ}", "^\\circ", "\\$", "\\%", "%", "\xC2\xB0"}) replace_all(text, degrees, "");
  open_texts(text);
  std::erase_if(text, [](char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '~'; });
  if (text.ends_with('.')) text.pop_back();
  drop_dollars(text);
  drop_name(text);
  drop_brackets(text);
  add_zeros(text);
  brace_arguments(text, "\\sqrt", 1);
  brace_arguments(text, "\\frac", 2);
  if (const auto number = as_number(text.starts_with('$') ? std::string_view(text).substr(1) : std::string_view(text))) return *number;
  if (const auto fraction = as_fraction(text)) return *fraction;
  return text;
}

}  // namespace cohort::reward
