#include "core/base/text_util.h"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>

#include "core/base/utf8.h"

namespace cohort {

namespace {

constexpr size_t kMaxNameBytes = 64;

}  // namespace

size_t edit_distance(std::string_view a, std::string_view b) {
  // Rows for the first i - 2, i - 1 and i bytes of a; entry j is the distance to the first j bytes of b.
  std::vector<size_t> before(b.size() + 1);
  std::vector<size_t> last(b.size() + 1);
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    before.swap(last);
    last.swap(row);
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({replaced, last[j] + 1, row[j - 1] + 1});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
  }
  return row[b.size()];
}

std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates) {
  if (name.empty() || name.size() > kMaxNameBytes) return "";
  std::string nearest;
  size_t least = std::max<size_t>(1, name.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    if (candidate.size() > kMaxNameBytes) continue;
    const size_t distance = edit_distance(name, candidate);
    if (distance < least && distance < candidate.size()) {
      least = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) text += separator;
    text += parts[i];
  }
  return text;
}

std::string printable(std::string_view text, size_t max_bytes) {
  std::string shown;
  for (size_t i = 0; i < text.size();) {
    const Character character = character_at(text, i);
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool control = character.code < 0x20 || (character.code >= 0x7F && character.code < 0xA0);
    std::string next;
    if (text[i] == '\n') {
      next = "\\n";
    } else if (text[i] == '\t') {
      next = "\\t";
    } else if (!character.valid || control) {
      next = fmt::format("\\x{:02x}", byte);
    } else {
      next = text.substr(i, character.length);
    }
    if (shown.size() + next.size() > max_bytes) return shown + "…";
    shown += next;
    i += control ? 1 : character.length;
  }
  return shown;
}

size_t first_invalid_utf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const Character character = character_at(text, i);
    if (!character.valid) break;
    i += character.length;
  }
  return i;
}

}  // namespace cohort
