#pragma once
/// Strict UTF-8 (RFC 3629), one character at a time. What is done with whole texts: core/text/utf8.h.

#include <cstddef>
#include <string>
#include <string_view>

namespace cohort {

/// What stands at one position of a text.
struct Character {
  char32_t code = 0;  ///< the code point; the byte itself when invalid
  size_t length = 1;  ///< bytes to go on, at least 1
  bool valid = false;
};

/// The character at `position` < text.size(). Overlong forms, surrogates, code points over U+10FFFF and cut characters are invalid and
/// one byte long.
Character character_at(std::string_view text, size_t position);

/// How many bytes a character has that begins with this one; 0 where none does.
size_t announced_length(unsigned char first);

/// Appends a valid code point.
void append_character(std::string& text, char32_t code);

}  // namespace cohort
