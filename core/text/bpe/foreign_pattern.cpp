#define PCRE2_CODE_UNIT_WIDTH 8
#include "core/text/bpe/foreign_pattern.h"

#include <fmt/core.h>
#include <pcre2.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/text_util.h"
#include "core/text/utf8.h"

namespace cohort::text::bpe {
namespace {

constexpr size_t kMaxPatternBytes = 16384;
constexpr uint32_t kMaxDepth = 100'000;         // backtracking points held at a time
constexpr uint32_t kMaxHeapKibibytes = 65'536;  // for them
// A match at one place is tried with so many steps within so many bytes of text. One that needs more pays for it: a step or a byte of work.
constexpr uint64_t kFreeSteps = 256, kFreeBytes = 256;
constexpr uint64_t kWorkPerByte = 256;  // for a byte of the whole text
constexpr uint64_t kMaxSteps = uint64_t{1} << 24;

struct FreePattern {
  void operator()(pcre2_code* p) const { pcre2_code_free(p); }
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
};

std::string message_of(int error) {
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(error, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

/// The first construct that both accept and that does not mean the same; empty where there is none.
std::string differs(std::string_view pattern) {
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i], next = i + 1 < pattern.size() ? pattern[i + 1] : '\0';
    if (c == '\\') {
      if (std::string_view("wWbBhHvVQEKGgkRXCNOzZ").find(next) != std::string_view::npos) return std::string("\\") + next;
      ++i;
    } else if (in_class) {
      if (c == '&' && next == '&') return "&&";
      if (c == '[') return "[ in a class";
      if (c == ']') in_class = false;
    } else if (c == '}' && next == '+') {
      return "}+";
    } else if (c == '[') {
      in_class = true;
      if (next == '^') ++i;
      if (i + 1 < pattern.size() && pattern[i + 1] == ']') return "[]";
    } else if (c == '(' && next == '?') {
      const std::string_view kind = pattern.substr(i + 2);
      const size_t flags = kind.find_first_of(":)");
      const bool known = kind.starts_with(":") || kind.starts_with("=") || kind.starts_with("!") || kind.starts_with("<=") ||
                         kind.starts_with("<!") || kind.starts_with(">") ||
                         (flags != std::string_view::npos && kind.substr(0, flags) == "i");
      if (!known) return "(?" + std::string(kind.substr(0, 1));
    }
  }
  return {};
}

class ForeignMatcher final : public Matcher {
 public:
  ForeignMatcher(const std::string& pattern, const std::string& where) : where_(where) {
    int error = 0;
    PCRE2_SIZE position = 0;
    // Oniguruma's ^ and $ stand at every line. What PCRE2 looks up before it starts is not right for each pattern: (?=b).*b on "b".
    const uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NO_START_OPTIMIZE;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), options, &error, &position, nullptr));
    if (!code_)
      throw InputError(fmt::format("{}: expected a regular expression, found at byte {}: {}", where, position, message_of(error)));
    limits_.reset(pcre2_match_context_create(nullptr));
    pcre2_set_depth_limit(limits_.get(), kMaxDepth);
    pcre2_set_heap_limit(limits_.get(), kMaxHeapKibibytes);
  }

  void find(std::string_view text, std::vector<Part>& parts) const override {
    size_t begin = 0;
    while (begin < text.size()) {  // between bytes that are not UTF-8, which match nothing
      const size_t length = first_invalid_utf8(text.substr(begin));
      if (length != 0) find_in(text.substr(begin, length), begin, parts);
      begin += length;
      if (begin == text.size()) break;
      parts.push_back({static_cast<uint32_t>(begin), static_cast<uint32_t>(begin + 1), false});
      ++begin;
    }
  }

 private:
  /// Matching of one text.
  struct Run {
    std::string_view text;
    uint64_t work;  // that may still be done
    std::unique_ptr<pcre2_match_data, FreePattern> data;
    std::unique_ptr<pcre2_match_context, FreePattern> limits;
  };

  /// Parts of valid UTF-8 that stands at `shift`.
  void find_in(std::string_view text, size_t shift, std::vector<Part>& parts) const {
    Run run{text, kWorkPerByte * text.size(), nullptr, nullptr};
    run.data.reset(pcre2_match_data_create_from_pattern(code_.get(), nullptr));
    run.limits.reset(pcre2_match_context_copy(limits_.get()));
    const auto add = [&](size_t begin, size_t end, bool matches) {
      parts.push_back({static_cast<uint32_t>(shift + begin), static_cast<uint32_t>(shift + end), matches});
    };
    size_t begin = 0, gap = 0;
    bool any = false;
    while (begin <= text.size()) {
      const bool found = match_at(begin, run);
      const size_t end = found ? pcre2_get_ovector_pointer(run.data.get())[1] : begin;
      if (!found || (begin == end && any && begin == gap)) {  // an empty match right behind the last one does not count
        begin += begin < text.size() ? character_at(text, begin).length : 1;
        continue;
      }
      if (gap != begin) add(gap, begin, false);
      add(begin, end, true);
      begin = gap = end;
      any = true;
    }
    if (gap != text.size()) add(gap, text.size(), false);
  }

  /// PCRE2 counts the steps of each place anew, and not at all how far it looks. So a match is tried with little of both, and with more as
  /// long as the whole text has work left. A try that does not come to the end of its stretch of text has the result of the whole text.
  bool match_at(size_t begin, Run& run) const {
    const std::string_view text = run.text;
    uint64_t steps = kFreeSteps, bytes = kFreeBytes;
    while (true) {
      size_t end = std::min<uint64_t>(begin + bytes, text.size());
      // Not inside a character, nor behind the end of a line: ^ holds there in a text that goes on, and not in one that ends.
      while (end < text.size() && ((static_cast<unsigned char>(text[end]) & 0xC0u) == 0x80u || text[end - 1] == '\n')) ++end;
      pcre2_set_match_limit(run.limits.get(), static_cast<uint32_t>(steps));
      const uint32_t options = PCRE2_NO_UTF_CHECK | PCRE2_ANCHORED | (end < text.size() ? PCRE2_PARTIAL_HARD : 0);
      const int result =
          pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), end, begin, options, run.data.get(), run.limits.get());
      if (result >= 0 || result == PCRE2_ERROR_NOMATCH) return result >= 0;
      uint64_t& scarce = result == PCRE2_ERROR_PARTIAL ? bytes : steps;
      scarce *= 4;
      const bool limited = result == PCRE2_ERROR_PARTIAL || result == PCRE2_ERROR_MATCHLIMIT;
      if (!limited || scarce > run.work || steps > kMaxSteps)
        throw InputError(
            fmt::format("{}: expected a pattern that takes at most {} steps for each byte of a text, found one that takes more: {}", where_,
                        kWorkPerByte, message_of(result)));
      run.work -= scarce;
    }
  }

  std::string where_;
  std::unique_ptr<pcre2_code, FreePattern> code_;
  std::unique_ptr<pcre2_match_context, FreePattern> limits_;
};

}  // namespace

std::unique_ptr<Matcher> make_foreign_matcher(const std::string& pattern, const std::string& where) {
  if (pattern.empty() || pattern.size() > kMaxPatternBytes)
    throw InputError(fmt::format("{}: expected a pattern of 1 to {} bytes, found {}", where, kMaxPatternBytes, pattern.size()));
  if (const std::string construct = differs(pattern); !construct.empty())
    throw InputError(fmt::format("{}: expected a pattern that PCRE2 and Oniguruma read alike, found {} in \"{}\"", where,
                                 printable(construct), printable(pattern)));
  auto matcher = std::make_unique<ForeignMatcher>(pattern, where);
  char version[24] = "";
  pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, version);
  log_warn(
      "{}: not one of the patterns known here; PCRE2 with Unicode {} takes it, and characters younger than that may be split otherwise",
      where, version);
  return matcher;
}

}  // namespace cohort::text::bpe
