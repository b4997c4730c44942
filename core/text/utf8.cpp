#include "core/text/utf8.h"

#include <algorithm>

namespace cohort::text {
namespace {

/// How many bytes at `position`, at least 1, are the beginning of some character, or stray.
size_t beginning_at(std::string_view text, size_t position) {
  const auto byte_at = [&](size_t i) { return static_cast<unsigned char>(text[position + i]); };
  const unsigned char first = byte_at(0);
  const size_t wanted = std::min(announced_length(first), text.size() - position);
  size_t length = 1;
  while (length < wanted) {
    const unsigned char low = length > 1 ? 0x80 : first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    const unsigned char high = length > 1 ? 0xBF : first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (byte_at(length) < low || byte_at(length) > high) break;
    ++length;
  }
  return length;
}

}  // namespace

size_t previous_character(std::string_view text, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && end - begin < 4 && (static_cast<unsigned char>(text[begin]) & 0xC0u) == 0x80u) --begin;
  return begin + character_at(text, begin).length == end ? begin : end - 1;
}

size_t incomplete_tail(std::string_view text) {
  for (size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if ((byte & 0xC0u) == 0x80u) continue;
    return announced_length(byte) > back ? back : 0;
  }
  return 0;
}

std::string replace_invalid(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const Character character = character_at(text, i);
    if (character.valid) {
      result.append(text.substr(i, character.length));
    } else {
      append_character(result, 0xFFFD);
    }
    i += character.length;
  }
  return result;
}

std::string replace_invalid_sequences(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const Character character = character_at(text, i);
    if (character.valid) {
      result.append(text.substr(i, character.length));
      i += character.length;
    } else {
      append_character(result, 0xFFFD);
      i += beginning_at(text, i);
    }
  }
  return result;
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n\v\f";
  const size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

}  // namespace cohort::text
