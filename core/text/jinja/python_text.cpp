#include "core/text/jinja/python_text.h"

#include <algorithm>

#include "core/text/jinja/bounds.h"
#include "core/text/python.h"
#include "core/text/utf8.h"

namespace cohort::text::jinja {
namespace {

constexpr size_t npos = std::string_view::npos;

bool in_set(std::string_view text, size_t at, std::string_view characters) {
  const Character c = character_at(text, at);
  for (size_t i = 0; i < characters.size();) {
    const Character other = character_at(characters, i);
    if (other.code == c.code) return true;
    i += other.length;
  }
  return false;
}

size_t strip_left(std::string_view text, const std::string_view* characters) {
  if (characters == nullptr) return begin_without_space(text);
  size_t begin = 0;
  while (begin < text.size() && in_set(text, begin, *characters)) begin += character_at(text, begin).length;
  return begin;
}

size_t strip_right(std::string_view text, size_t begin, const std::string_view* characters) {
  if (characters == nullptr) return begin + end_without_space(text.substr(begin));
  size_t end = text.size();
  while (end > begin) {
    const size_t at = previous_character(text, end);
    if (!in_set(text, at, *characters)) break;
    end = at;
  }
  return end;
}

bool is_line_end(char32_t code) {
  return (code >= 0x0A && code <= 0x0D) || (code >= 0x1C && code <= 0x1E) || code == 0x85 || code == 0x2028 || code == 0x2029;
}

std::vector<MarkedText> split_at_space(const MarkedText& text, int64_t max_splits) {
  std::vector<MarkedText> parts;
  const std::string_view all = text.text();
  size_t at = begin_without_space(all);
  while (at < all.size()) {
    if (max_splits >= 0 && static_cast<int64_t>(parts.size()) == max_splits) {
      parts.push_back(text.cut(at, end_without_space(all)));
      break;
    }
    size_t end = at;
    while (end < all.size() && !is_space_at(all, end)) end += character_at(all, end).length;
    parts.push_back(text.cut(at, end));
    at = end + begin_without_space(all.substr(end));
  }
  return parts;
}

std::vector<MarkedText> split_at_space_from_right(const MarkedText& text, int64_t max_splits) {
  std::vector<MarkedText> parts;
  const std::string_view all = text.text();
  size_t end = end_without_space(all);
  while (end > 0) {
    if (max_splits >= 0 && static_cast<int64_t>(parts.size()) == max_splits) {
      const size_t begin = begin_without_space(all.substr(0, end));
      if (begin < end) parts.push_back(text.cut(begin, end));
      break;
    }
    size_t begin = end;
    while (begin > 0 && !is_space_at(all, previous_character(all, begin))) begin = previous_character(all, begin);
    parts.push_back(text.cut(begin, end));
    end = end_without_space(all.substr(0, begin));
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

char ascii_upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }
char ascii_lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
bool is_ascii_letter(char c) { return ascii_upper(c) != ascii_lower(c); }

}  // namespace

std::vector<size_t> character_offsets(std::string_view text) {
  std::vector<size_t> offsets;
  for (size_t at = 0; at < text.size(); at += character_at(text, at).length) offsets.push_back(at);
  offsets.push_back(text.size());
  return offsets;
}

size_t character_count(std::string_view text) {
  size_t count = 0;
  for (size_t at = 0; at < text.size(); at += character_at(text, at).length) ++count;
  return count;
}

MarkedText strip(const MarkedText& text, Side side, const std::string_view* characters) {
  const std::string_view all = text.text();
  const size_t begin = side == Side::kRight ? 0 : strip_left(all, characters);
  const size_t end = side == Side::kLeft ? all.size() : strip_right(all, begin, characters);
  return text.cut(begin, end);
}

std::vector<MarkedText> split(const MarkedText& text, const std::string_view* separator, int64_t max_splits) {
  if (separator == nullptr) return split_at_space(text, max_splits);
  if (separator->empty()) throw Problem("split: expected a separator, found an empty string");
  std::vector<MarkedText> parts;
  const std::string_view all = text.text();
  size_t begin = 0;
  while (max_splits < 0 || static_cast<int64_t>(parts.size()) < max_splits) {
    const size_t found = all.find(*separator, begin);
    if (found == npos) break;
    parts.push_back(text.cut(begin, found));
    begin = found + separator->size();
  }
  parts.push_back(text.cut(begin, all.size()));
  return parts;
}

std::vector<MarkedText> split_from_right(const MarkedText& text, const std::string_view* separator, int64_t max_splits) {
  if (separator == nullptr) return split_at_space_from_right(text, max_splits);
  if (separator->empty()) throw Problem("rsplit: expected a separator, found an empty string");
  std::vector<MarkedText> parts;
  const std::string_view all = text.text();
  size_t end = all.size();
  while (max_splits < 0 || static_cast<int64_t>(parts.size()) < max_splits) {
    const size_t found = all.substr(0, end).rfind(*separator);
    if (found == npos) break;
    parts.push_back(text.cut(found + separator->size(), end));
    end = found;
  }
  parts.push_back(text.cut(0, end));
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<MarkedText> split_lines(const MarkedText& text) {
  std::vector<MarkedText> lines;
  const std::string_view all = text.text();
  size_t begin = 0;
  for (size_t at = 0; at < all.size();) {
    const Character c = character_at(all, at);
    size_t next = at + c.length;
    if (c.code == '\r' && next < all.size() && all[next] == '\n') ++next;
    if (is_line_end(c.code)) {
      lines.push_back(text.cut(begin, at));
      begin = next;
    }
    at = next;
  }
  if (begin < all.size()) lines.push_back(text.cut(begin, all.size()));
  return lines;
}

MarkedText replace(const MarkedText& text, std::string_view old, const MarkedText& by, int64_t count, size_t max_bytes) {
  const std::string_view all = text.text();
  MarkedText result;
  const auto put = [&](size_t begin, size_t end, bool then_by) {
    result.append(text, begin, end);
    if (then_by) result.append(by);
    if (result.size() > max_bytes) throw Problem("replace: expected a shorter result");
  };
  size_t at = 0;
  if (old.empty()) {  // before each character and at the end
    while (count != 0) {
      if (count > 0) --count;
      const size_t next = at < all.size() ? at + character_at(all, at).length : at;
      result.append(by);
      put(at, next, false);
      if (at == all.size()) return result;
      at = next;
    }
  }
  while (count != 0) {
    const size_t found = old.empty() ? npos : all.find(old, at);
    if (found == npos) break;
    put(at, found, true);
    at = found + old.size();
    if (count > 0) --count;
  }
  put(at, all.size(), false);
  return result;
}

MarkedText change_case(const MarkedText& text, Case to) {
  std::string changed = text.text();
  bool inside_word = false;
  for (char& c : changed) {
    if (static_cast<unsigned char>(c) >= 0x80) throw Problem("upper, lower, title: expected ASCII letters, found others");
    const bool raises = to == Case::kUpper || (to != Case::kLower && !inside_word);
    c = raises ? ascii_upper(c) : ascii_lower(c);
    if (to == Case::kTitleFilter) {
      inside_word = !is_python_space(static_cast<unsigned char>(c)) && std::string_view("-({[<").find(c) == npos;
    } else {
      inside_word = to == Case::kCapitalize || is_ascii_letter(c);
    }
  }
  return text.with_text(std::move(changed));
}

}  // namespace cohort::text::jinja
