#include "core/text/boxed.h"

#include "core/text/utf8.h"

namespace cohort::text {

size_t behind_braces(std::string_view text, size_t open) {
  size_t depth = 0;
  for (size_t i = open; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == '{') {
      ++depth;
    } else if (text[i] == '}' && --depth == 0) {
      return i + 1;
    }
  }
  return std::string_view::npos;
}

std::optional<std::string> last_boxed(std::string_view text) {
  constexpr std::string_view kBoxed = "\\boxed", kFbox = "\\fbox";
  constexpr size_t kNone = std::string_view::npos;
  const size_t boxed = text.rfind(kBoxed), fbox = text.rfind(kFbox);
  if (boxed == kNone && fbox == kNone) return std::nullopt;
  const bool is_fbox = boxed == kNone || (fbox != kNone && fbox > boxed);
  const std::string_view rest = trim(text.substr(is_fbox ? fbox + kFbox.size() : boxed + kBoxed.size()));
  if (!rest.starts_with('{')) return std::string(trim(rest.substr(0, rest.find_first_of("$\n"))));
  const size_t end = behind_braces(rest, 0);
  return end == kNone ? std::string() : std::string(trim(rest.substr(1, end - 2)));
}

}  // namespace cohort::text
