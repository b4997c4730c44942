#pragma once
/// The marked final answer of a mathematical text.

#include <optional>
#include <string>
#include <string_view>

namespace cohort::text {

/// What stands in the last \boxed{…} or \fbox{…}, trimmed; also "\boxed 7$", up to the dollar sign or the line's end. "" when its braces do
/// not close; nothing when there is none. \{ and \} are text. O(length).
std::optional<std::string> last_boxed(std::string_view text);

/// Position behind the brace that closes the one at `open`; npos when none does.
size_t behind_braces(std::string_view text, size_t open);

}  // namespace cohort::text
