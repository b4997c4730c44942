#include "core/text/utf8.h"

#include <algorithm>

namespace cohort::text {
namespace {

/// Length that a first byte announces and the smallest code point that needs it; length 0 when no character starts so.
struct Lead {
  size_t length;
  char32_t bits;
  char32_t smallest;
};

Lead read_lead(unsigned char byte) {
  if (byte < 0x80) return {1, byte, 0};
  if (byte >= 0xC2 && byte <= 0xDF) return {2, byte & 0x1Fu, 0x80};
  if (byte >= 0xE0 && byte <= 0xEF) return {3, byte & 0x0Fu, 0x800};
  if (byte >= 0xF0 && byte <= 0xF4) return {4, byte & 0x07u, 0x10000};
  return {0, 0, 0};
}

/// How many bytes at `position`, at least 1, are the beginning of some character, or stray.
size_t beginning_at(std::string_view text, size_t position) {
  const auto byte_at = [&](size_t i) { return static_cast<unsigned char>(text[position + i]); };
  const unsigned char first = byte_at(0);
  const size_t wanted = std::min(read_lead(first).length, text.size() - position);
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

Character character_at(std::string_view text, size_t position) {
  const auto first = static_cast<unsigned char>(text[position]);
  const Character invalid = {.code = first, .length = 1, .valid = false};
  const Lead lead = read_lead(first);
  if (lead.length == 0 || text.size() - position < lead.length) return invalid;
  char32_t code = lead.bits;
  for (size_t i = 1; i < lead.length; ++i) {
    const auto byte = static_cast<unsigned char>(text[position + i]);
    if ((byte & 0xC0u) != 0x80u) return invalid;
    code = (code << 6) | (byte & 0x3Fu);
  }
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  if (code < lead.smallest || surrogate || code > 0x10FFFF) return invalid;
  return {.code = code, .length = lead.length, .valid = true};
}

size_t previous_character(std::string_view text, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && end - begin < 4 && (static_cast<unsigned char>(text[begin]) & 0xC0u) == 0x80u) --begin;
  return begin + character_at(text, begin).length == end ? begin : end - 1;
}

size_t incomplete_tail(std::string_view text) {
  for (size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if ((byte & 0xC0u) == 0x80u) continue;
    return read_lead(byte).length > back ? back : 0;
  }
  return 0;
}

void append_character(std::string& text, char32_t code) {
  const auto tail = [&](int shift) { text.push_back(static_cast<char>(0x80u | ((code >> shift) & 0x3Fu))); };
  if (code < 0x80) {
    text.push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    text.push_back(static_cast<char>(0xC0u | (code >> 6)));
    tail(0);
  } else if (code < 0x10000) {
    text.push_back(static_cast<char>(0xE0u | (code >> 12)));
    tail(6);
    tail(0);
  } else {
    text.push_back(static_cast<char>(0xF0u | (code >> 18)));
    tail(12);
    tail(6);
    tail(0);
  }
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
