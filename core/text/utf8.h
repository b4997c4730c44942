#pragma once
/// Texts that may not be UTF-8, and white space. One character: core/base/utf8.h.

#include <cstddef>
#include <string>
#include <string_view>

#include "core/base/utf8.h"

namespace cohort::text {

/// Where the character begins that ends at `end` > 0; end - 1 for a byte that is not UTF-8.
size_t previous_character(std::string_view text, size_t end);

/// How many bytes at the end, 0 to 3, are the beginning of a character that more bytes may complete.
size_t incomplete_tail(std::string_view text);

/// The same text with each invalid byte replaced by U+FFFD: what may go into JSON or onto a terminal.
std::string replace_invalid(std::string_view text);

/// The same with one U+FFFD for all bytes that together begin a character (The Unicode Standard, 3.9; what Rust and Python write).
std::string replace_invalid_sequences(std::string_view text);

/// Without ASCII white space at both ends.
std::string_view trim(std::string_view text);

}  // namespace cohort::text
