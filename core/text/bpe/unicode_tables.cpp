#include "core/text/bpe/unicode_tables.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <vector>

namespace cohort::text::bpe {
namespace {

struct FlagRange {
  char32_t first, last;
  uint8_t flags;
};
struct ClassRange {
  char32_t first, last;
  uint8_t combining_class;
};
struct Decomposition {
  char32_t code, first, second;
  bool composes;  ///< false: singletons and composition exclusions
};

#include "core/text/bpe/unicode_tables.inc"

std::unique_ptr<uint8_t[]> spread_flags() {
  auto flags = std::make_unique<uint8_t[]>(kCodePoints);
  for (const FlagRange& range : kFlags) std::fill(flags.get() + range.first, flags.get() + range.last + 1, range.flags);
  return flags;
}

std::vector<Decomposition> composites() {
  std::vector<Decomposition> all;
  std::copy_if(std::begin(kDecompositions), std::end(kDecompositions), std::back_inserter(all), [](const auto& d) { return d.composes; });
  std::sort(all.begin(), all.end(),
            [](const auto& a, const auto& b) { return std::pair(a.first, a.second) < std::pair(b.first, b.second); });
  return all;
}

std::vector<bool> changed_by_nfc() {
  std::vector<bool> changed(kCodePoints);
  const auto mark = [&](char32_t first, char32_t last) {
    for (char32_t code = first; code <= last; ++code) changed[code] = true;
  };
  for (const ClassRange& range : kCombiningClasses) mark(range.first, range.last);
  for (const Decomposition& d : kDecompositions) {
    const char32_t code = d.composes ? d.second : d.code;
    mark(code, code);
  }
  mark(0x1161, 0x1175), mark(0x11A8, 0x11C2);  // vowels and trailing consonants of Hangul
  return changed;
}

}  // namespace

bool may_change_in_nfc(char32_t code) {
  static const std::vector<bool> changed = changed_by_nfc();
  return changed[code];
}

const uint8_t* code_flags() {
  static const std::unique_ptr<uint8_t[]> flags = spread_flags();
  return flags.get();
}

uint8_t combining_class(char32_t code) {
  const auto* range = std::partition_point(std::begin(kCombiningClasses), std::end(kCombiningClasses),
                                           [code](const ClassRange& r) { return r.last < code; });
  return range != std::end(kCombiningClasses) && range->first <= code ? range->combining_class : uint8_t{0};
}

CanonicalParts canonical_parts(char32_t code) {
  const auto* found = std::partition_point(std::begin(kDecompositions), std::end(kDecompositions),
                                           [code](const Decomposition& d) { return d.code < code; });
  return found != std::end(kDecompositions) && found->code == code ? CanonicalParts{found->first, found->second} : CanonicalParts{};
}

char32_t canonical_composite(char32_t first, char32_t second) {
  static const std::vector<Decomposition> all = composites();
  const auto found = std::partition_point(all.begin(), all.end(),
                                          [&](const Decomposition& d) { return std::pair(d.first, d.second) < std::pair(first, second); });
  return found != all.end() && found->first == first && found->second == second ? found->code : 0;
}

}  // namespace cohort::text::bpe
