#include "core/base/utf8.h"

namespace cohort {
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

size_t announced_length(unsigned char first) { return read_lead(first).length; }

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

}  // namespace cohort
