#include "core/text/python.h"

#include <charconv>
#include <cmath>
#include <cstdlib>

#include "core/text/utf8.h"

namespace cohort::text {

bool is_python_space(char32_t code) {
  return (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x20) || code == 0x85 || code == 0xA0 || code == 0x1680 ||
         (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

bool is_space_at(std::string_view text, size_t position) {
  const Character c = character_at(text, position);
  return c.valid && is_python_space(c.code);
}

size_t begin_without_space(std::string_view text) {
  size_t begin = 0;
  while (begin < text.size() && is_space_at(text, begin)) begin += character_at(text, begin).length;
  return begin;
}

size_t end_without_space(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    const size_t last = previous_character(text, end);
    if (!is_space_at(text, last)) break;
    end = last;
  }
  return end;
}

std::string_view python_strip(std::string_view text) {
  text = text.substr(0, end_without_space(text));
  return text.substr(begin_without_space(text));
}

std::string python_float(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number > 0 ? "inf" : "-inf";
  char buffer[64];
  const auto end_of = [&](std::to_chars_result result) { return std::string(buffer, result.ptr); };
  const std::string scientific = end_of(std::to_chars(buffer, buffer + sizeof buffer, number, std::chars_format::scientific));
  const int exponent = std::atoi(scientific.c_str() + scientific.find('e') + 1);
  if (exponent < -4 || exponent >= 16) return scientific;
  std::string fixed = end_of(std::to_chars(buffer, buffer + sizeof buffer, number, std::chars_format::fixed));
  return fixed.find('.') == std::string::npos ? fixed + ".0" : fixed;
}

}  // namespace cohort::text
