#pragma once
/// Small helpers for messages about text that came from outside.

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace cohort {

/// Insertions, deletions, replacements and swaps of neighbours that turn a into b, in bytes (optimal string alignment).
/// O(|a|·|b|): callers bound the lengths.
size_t edit_distance(std::string_view a, std::string_view b);

/// The candidate meant by a misspelt `name`: the one at least distance, if that is at most a third of its length (at least 1).
/// Empty when none is near. Names over 64 bytes match nothing.
std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates);

/// "a, b, c".
std::string join(const std::vector<std::string>& parts, std::string_view separator = ", ");

/// Fit for one line of a message: control characters escaped, cut to `max_bytes` with "…" (never inside a character).
std::string printable(std::string_view text, size_t max_bytes = 60);

/// Offset of the first byte that is not part of valid UTF-8 (surrogates and overlong forms are invalid); text.size() when all is valid.
size_t first_invalid_utf8(std::string_view text);

}  // namespace cohort
