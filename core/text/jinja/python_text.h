#pragma once
/// Strings as Python has them: positions count code points, white space is Unicode's (core/text/python.h).
///
/// Letters outside ASCII keep their case tables in Python; upper(), lower() and title() refuse them with a Problem.

#include <cstddef>
#include <string_view>
#include <vector>

#include "core/text/marked_text.h"

namespace cohort::text::jinja {

/// Byte offset of each code point, and the size.
std::vector<size_t> character_offsets(std::string_view text);
size_t character_count(std::string_view text);

enum class Side { kLeft, kRight, kBoth };
/// strip(), lstrip(), rstrip(); `characters` null: white space.
MarkedText strip(const MarkedText& text, Side side, const std::string_view* characters);

/// split() and rsplit(); `separator` null: runs of white space. max_splits below 0: all. Problem for an empty separator.
std::vector<MarkedText> split(const MarkedText& text, const std::string_view* separator, int64_t max_splits);
std::vector<MarkedText> split_from_right(const MarkedText& text, const std::string_view* separator, int64_t max_splits);
/// splitlines().
std::vector<MarkedText> split_lines(const MarkedText& text);
/// replace(); count below 0: all.
MarkedText replace(const MarkedText& text, std::string_view old, const MarkedText& by, int64_t count, size_t max_bytes);

enum class Case {
  kUpper,
  kLower,
  kCapitalize,
  kTitle,        ///< the method: a word is a run of letters
  kTitleFilter,  ///< Jinja's filter: a word begins behind white space or one of -({[<
};
MarkedText change_case(const MarkedText& text, Case to);

}  // namespace cohort::text::jinja
