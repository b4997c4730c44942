#pragma once
/// Strict UTF-8 (RFC 3629), one character at a time.

#include <cstddef>
#include <string>
#include <string_view>

namespace cohort::text {

/// What stands at one position of a text.
struct Character {
  char32_t code = 0;  ///< the code point; the byte itself when invalid
  size_t length = 1;  ///< bytes to go on, at least 1
  bool valid = false;
};

/// The character at `position` < text.size(). Overlong forms, surrogates, code points over U+10FFFF and cut characters are invalid and
/// one byte long.
Character character_at(std::string_view text, size_t position);

/// Where the character begins that ends at `end` > 0; end - 1 for a byte that is not UTF-8.
size_t previous_character(std::string_view text, size_t end);

/// How many bytes at the end, 0 to 3, are the beginning of a character that more bytes may complete.
size_t incomplete_tail(std::string_view text);

/// Appends a valid code point.
void append_character(std::string& text, char32_t code);

/// The same text with each invalid byte replaced by U+FFFD: what may go into JSON or onto a terminal.
std::string replace_invalid(std::string_view text);

/// The same with one U+FFFD for all bytes that together begin a character (The Unicode Standard, 3.9; what Rust and Python write).
std::string replace_invalid_sequences(std::string_view text);

/// Without ASCII white space at both ends.
std::string_view trim(std::string_view text);

}  // namespace cohort::text
