#include "core/text/bpe/normalizer.h"

#include <algorithm>

#include "core/text/bpe/unicode_tables.h"
#include "core/text/utf8.h"

namespace cohort::text::bpe {
namespace {

// Hangul syllables are composed by arithmetic (The Unicode Standard, 3.12).
constexpr char32_t kSyllables = 0xAC00, kLeads = 0x1100, kVowels = 0x1161, kTrails = 0x11A7;
constexpr char32_t kLeadCount = 19, kVowelCount = 21, kTrailCount = 28, kSyllableCount = kLeadCount * kVowelCount * kTrailCount;

/// A character on its way. What is no UTF-8 is a starter that composes with nothing.
struct Item {
  char32_t code;
  uint8_t combining_class;
  bool valid;
  int change;  ///< 0: stands for the next character of the input; 1: is one more; -n: stands for the next and takes n more away
};

void decompose(char32_t code, int change, std::vector<Item>& out) {
  if (code >= kSyllables && code < kSyllables + kSyllableCount) {
    const char32_t index = code - kSyllables, trail = index % kTrailCount;
    out.push_back({kLeads + index / (kVowelCount * kTrailCount), 0, true, change});
    out.push_back({kVowels + index % (kVowelCount * kTrailCount) / kTrailCount, 0, true, 1});
    if (trail != 0) out.push_back({kTrails + trail, 0, true, 1});
    return;
  }
  const CanonicalParts parts = canonical_parts(code);
  if (parts.first == 0) return out.push_back({code, combining_class(code), true, change});
  decompose(parts.first, change, out);  // the table has no cycles and is at most three deep
  if (parts.second != 0) decompose(parts.second, 1, out);
}

std::vector<Item> decompose(std::string_view text) {
  std::vector<Item> items;
  items.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const Character c = character_at(text, i);
    if (c.valid) {
      decompose(c.code, 0, items);
    } else {
      items.push_back({c.code, 0, false, 0});
    }
    i += c.length;
  }
  return items;
}

void order_marks(std::vector<Item>& items) {
  const auto is_mark = [](const Item& item) { return item.combining_class != 0; };
  for (auto begin = items.begin(); begin != items.end();) {
    begin = std::find_if(begin, items.end(), is_mark);
    const auto end = std::find_if_not(begin, items.end(), is_mark);
    std::stable_sort(begin, end, [](const Item& a, const Item& b) { return a.combining_class < b.combining_class; });
    begin = end;
  }
}

char32_t composite(const Item& first, const Item& second) {
  if (!first.valid || !second.valid) return 0;
  const char32_t a = first.code, b = second.code;
  if (a >= kLeads && a < kLeads + kLeadCount && b >= kVowels && b < kVowels + kVowelCount)
    return kSyllables + ((a - kLeads) * kVowelCount + b - kVowels) * kTrailCount;
  if (a >= kSyllables && a < kSyllables + kSyllableCount && (a - kSyllables) % kTrailCount == 0 && b > kTrails && b < kTrails + kTrailCount)
    return a + b - kTrails;
  return canonical_composite(a, b);
}

std::vector<Item> compose(const std::vector<Item>& items) {
  std::vector<Item> out;
  out.reserve(items.size());
  size_t starter = items.size();  // in out; none yet
  int last_class = -1;            // of the mark between starter and item that was not taken into the starter; -1: none
  for (const Item& item : items) {
    if (starter < out.size() && last_class < item.combining_class) {
      if (const char32_t code = composite(out[starter], item); code != 0) {
        out[starter].code = code, out[starter].change += item.change - 1;
        continue;
      }
    }
    if (item.combining_class == 0) {
      starter = out.size(), last_class = -1;
    } else if (starter < out.size()) {
      last_class = item.combining_class;
    }
    out.push_back(item);
  }
  return out;
}

/// Where each character of `text` lies, and one more at its end.
std::vector<Span> characters_of(std::string_view text) {
  std::vector<Span> spans;
  for (size_t i = 0; i < text.size();) {
    const size_t length = character_at(text, i).length;
    spans.push_back({static_cast<uint32_t>(i), static_cast<uint32_t>(i + length)});
    i += length;
  }
  return spans;
}

std::vector<Span> align(const std::vector<Item>& items, std::string_view text) {
  const std::vector<Span> characters = characters_of(text);
  std::vector<Span> result;
  size_t next = 0;
  for (const Item& item : items) {
    if (item.change > 0) {
      result.push_back(next == 0 ? Span{} : characters[next - 1]);
    } else {
      result.push_back(next < characters.size() ? characters[next] : Span{});
      next += static_cast<size_t>(1 - item.change);
    }
  }
  return result;
}

}  // namespace

bool is_quickly_nfc(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    if (static_cast<unsigned char>(text[i]) < 0x80) {
      ++i;
      continue;
    }
    const Character c = character_at(text, i);
    if (c.valid && may_change_in_nfc(c.code)) return false;
    i += c.length;
  }
  return true;
}

std::string nfc(std::string_view text, std::vector<Span>* alignment) {
  std::vector<Item> items = decompose(text);
  order_marks(items);
  items = compose(items);
  const std::vector<Span> spans = alignment != nullptr ? align(items, text) : std::vector<Span>{};
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < items.size(); ++i) {
    if (items[i].valid) {
      append_character(result, items[i].code);
    } else {
      result.push_back(static_cast<char>(items[i].code));
    }
    if (alignment != nullptr) alignment->resize(result.size(), spans[i]);
  }
  return result;
}

}  // namespace cohort::text::bpe
