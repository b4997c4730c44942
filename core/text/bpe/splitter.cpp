#include "core/text/bpe/splitter.h"

#include <algorithm>

#include "core/text/bpe/foreign_pattern.h"
#include "core/text/bpe/unicode_tables.h"
#include "core/text/utf8.h"

namespace cohort::text::bpe {
namespace {

/// A character of the text and its flags. A byte that is not UTF-8 has none.
struct Seen {
  char32_t code = 0;
  uint32_t length = 0;  ///< 0: the end of the text
  uint8_t flags = 0;

  bool is(int wanted) const { return (flags & wanted) != 0; }
  bool is_newline() const { return length != 0 && (code == '\n' || code == '\r'); }
};

class Text {
 public:
  explicit Text(std::string_view bytes) : bytes_(bytes), flags_(code_flags()) {}

  size_t size() const { return bytes_.size(); }
  Seen at(size_t position) const {
    if (position >= bytes_.size()) return {};
    const auto byte = static_cast<unsigned char>(bytes_[position]);
    if (byte < 0x80) return {byte, 1, flags_[byte]};
    const Character c = character_at(bytes_, position);
    // A code beyond Unicode stands for the stray byte, so that it equals no character.
    return {c.valid ? c.code : kCodePoints + c.code, static_cast<uint32_t>(c.length), c.valid ? flags_[c.code] : uint8_t{0}};
  }
  /// The end of the run of characters from `position` on for which `wanted` holds.
  template <class Wanted>
  size_t run(size_t position, Wanted wanted) const {
    for (Seen c = at(position); c.length != 0 && wanted(c); c = at(position)) position += c.length;
    return position;
  }

 private:
  std::string_view bytes_;
  const uint8_t* flags_;
};

/// The end of \s*[\r\n]+|\s+(?!\S)|\s+ at a white space; without the first alternative where `newlines` is false.
size_t match_space(const Text& text, size_t begin, bool newlines) {
  size_t end = begin, last = begin, after_newline = begin;
  for (Seen c = text.at(end); c.is(kSpace); c = text.at(end)) {
    last = end;
    end += c.length;
    if (c.is_newline()) after_newline = end;
  }
  if (newlines && after_newline != begin) return after_newline;
  return end == text.size() || last == begin ? end : last;
}

/// The end of 's|'t|'re|'ve|'m|'ll|'d at an apostrophe; `begin` where it is none.
size_t match_contraction(const Text& text, size_t begin, bool any_case) {
  const auto lower = [any_case](char32_t code) -> char32_t {
    if (!any_case) return code;
    if (code == 0x17F) return 's';  // its simple case folding
    return code >= 'A' && code <= 'Z' ? code + ('a' - 'A') : code;
  };
  const Seen first = text.at(begin + 1);
  const char32_t a = lower(first.code);
  if (first.length == 0) return begin;
  const size_t after = begin + 1 + first.length;
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return after;
  const Seen second = text.at(after);
  const char32_t b = lower(second.code);
  const bool two = second.length == 1 && ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l'));
  return two ? after + 1 : begin;
}

bool is_other(const Seen& c) { return !c.is(kSpace | kLetter | kNumber); }

/// GPT-2: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
size_t match_gpt2(const Text& text, size_t begin) {
  Seen c = text.at(begin);
  if (c.code == '\'')
    if (const size_t end = match_contraction(text, begin, false); end != begin) return end;
  size_t word = begin;
  if (c.code == ' ') word += 1, c = text.at(word);
  if (c.is(kLetter)) return text.run(word, [](const Seen& x) { return x.is(kLetter); });
  if (c.is(kNumber)) return text.run(word, [](const Seen& x) { return x.is(kNumber); });
  if (c.length != 0 && is_other(c)) return text.run(word, is_other);
  return match_space(text, begin, false);
}

/// Qwen2 (digits 1) and Llama-3 (digits 3):
/// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
template <int digits>
size_t match_words(const Text& text, size_t begin) {
  const Seen c = text.at(begin);
  const auto is_letter = [](const Seen& x) { return x.is(kLetter); };
  const auto is_newline = [](const Seen& x) { return x.is_newline(); };
  if (c.code == '\'')
    if (const size_t end = match_contraction(text, begin, true); end != begin) return end;
  if (c.is(kLetter)) return text.run(begin, is_letter);
  if (c.is(kNumber)) return text.run(begin, [left = digits](const Seen& x) mutable { return x.is(kNumber) && left-- > 0; });
  const Seen next = text.at(begin + c.length);
  if (!c.is_newline() && next.is(kLetter)) return text.run(begin + c.length, is_letter);
  if (is_other(c)) return text.run(text.run(begin, is_other), is_newline);
  if (c.code == ' ' && next.length != 0 && is_other(next)) return text.run(text.run(begin + 1, is_other), is_newline);
  return match_space(text, begin, true);
}

/// DeepSeek-V3's first: \p{N}{1,3}
size_t match_numbers(const Text& text, size_t begin) {
  return text.run(begin, [left = 3](const Seen& x) mutable { return x.is(kNumber) && left-- > 0; });
}

/// Its second: [一-龥぀-ゟ゠-ヿ]+
size_t match_cjk(const Text& text, size_t begin) {
  return text.run(begin, [](const Seen& x) { return (x.code >= 0x4E00 && x.code <= 0x9FA5) || (x.code >= 0x3040 && x.code <= 0x30FF); });
}

/// Its third, kDeepSeekWords below.
size_t match_deepseek_words(const Text& text, size_t begin) {
  const Seen c = text.at(begin);
  const auto is_word = [](const Seen& x) { return x.is(kLetter | kMark); };
  const auto is_sign = [](const Seen& x) { return x.is(kPunctuation | kSymbol); };
  const auto is_ascii_letter = [](const Seen& x) { return x.length == 1 && x.code < 0x80 && x.is(kLetter); };
  const auto is_newline = [](const Seen& x) { return x.is_newline(); };
  const Seen next = text.at(begin + c.length);
  if (c.code < 0x80 && is_sign(c) && next.length != 0 && is_ascii_letter(next)) return text.run(begin + 1, is_ascii_letter);
  if (is_word(c)) return text.run(begin, is_word);
  if (!c.is_newline() && !is_sign(c) && is_word(next)) return text.run(begin + c.length, is_word);
  if (is_sign(c)) return text.run(text.run(begin, is_sign), is_newline);
  if (c.code == ' ' && is_sign(next)) return text.run(text.run(begin + 1, is_sign), is_newline);
  return c.is(kSpace) ? match_space(text, begin, true) : begin;
}

/// Numbers of any kind, one by one.
size_t match_digit(const Text& text, size_t begin) {
  const Seen c = text.at(begin);
  return c.is(kNumeric) ? begin + c.length : begin;
}

/// `match` returns the end of the match at a position, or the position where there is none.
template <size_t (*match)(const Text&, size_t)>
class HandWritten final : public Matcher {
 public:
  void find(std::string_view bytes, std::vector<Part>& parts) const override {
    const Text text(bytes);
    size_t gap = 0;
    for (size_t i = 0; i < bytes.size();) {
      const size_t end = match(text, i);
      if (end == i) {
        i += text.at(i).length;
        continue;
      }
      if (gap != i) parts.push_back({static_cast<uint32_t>(gap), static_cast<uint32_t>(i), false});
      parts.push_back({static_cast<uint32_t>(i), static_cast<uint32_t>(end), true});
      gap = i = end;
    }
    if (gap != bytes.size()) parts.push_back({static_cast<uint32_t>(gap), static_cast<uint32_t>(bytes.size()), false});
  }
};

class Literal final : public Matcher {
 public:
  explicit Literal(const std::string& literal) : literal_(literal) {}
  void find(std::string_view text, std::vector<Part>& parts) const override {
    size_t gap = 0;
    for (size_t at = text.find(literal_); at != std::string_view::npos; at = text.find(literal_, gap)) {
      if (gap != at) parts.push_back({static_cast<uint32_t>(gap), static_cast<uint32_t>(at), false});
      gap = at + literal_.size();
      parts.push_back({static_cast<uint32_t>(at), static_cast<uint32_t>(gap), true});
    }
    if (gap != text.size()) parts.push_back({static_cast<uint32_t>(gap), static_cast<uint32_t>(text.size()), false});
  }

 private:
  std::string literal_;
};

constexpr std::string_view kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDeepSeekNumbers = R"(\p{N}{1,3})";
constexpr std::string_view kDeepSeekCjk = "[一-龥぀-ゟ゠-ヿ]+";
// The newlines are characters in the published file, not escapes.
constexpr std::string_view kDeepSeekWords = R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^)"
                                            "\r\n"
                                            R"(\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[)"
                                            "\r\n"
                                            R"(]*|\s*[)"
                                            "\r\n"
                                            R"(]+|\s+(?!\S)|\s+)";

/// Matches and gaps → what is kept, by the rules of `tokenizers`: a run of matches is merged with its neighbour only at its first.
std::vector<Part> apply(Behavior behavior, std::vector<Part> parts) {
  if (behavior == Behavior::kIsolated) return parts;
  if (behavior == Behavior::kRemoved) {
    std::erase_if(parts, [](const Part& p) { return p.matches; });
    return parts;
  }
  const bool backwards = behavior == Behavior::kMergedWithNext;
  if (backwards) std::reverse(parts.begin(), parts.end());
  std::vector<Part> kept;
  bool previous = false;
  for (const Part& part : parts) {
    const bool merges = behavior == Behavior::kContiguous ? part.matches == previous : part.matches && !previous;
    previous = part.matches;
    if (!merges || kept.empty()) {
      kept.push_back(part);
    } else if (backwards) {
      kept.back().begin = part.begin;
    } else {
      kept.back().end = part.end;
    }
  }
  if (backwards) std::reverse(kept.begin(), kept.end());
  return kept;
}

void append_split(std::string_view text, Piece piece, const SplitStep& step, std::vector<Piece>& out) {
  std::vector<Part> parts;
  step.matcher->find(text.substr(piece.begin, piece.end - piece.begin), parts);
  if (step.invert)
    for (Part& part : parts) part.matches = !part.matches;
  for (const Part& part : apply(step.behavior, std::move(parts)))
    if (part.begin != part.end) out.push_back({piece.begin + part.begin, piece.begin + part.end, false});
}

const Matcher& gpt2_matcher() {
  static const HandWritten<match_gpt2> matcher;
  return matcher;
}

}  // namespace

std::unique_ptr<Matcher> make_pattern_matcher(const std::string& pattern, const std::string& where) {
  if (pattern == kGpt2) return std::make_unique<HandWritten<match_gpt2>>();
  if (pattern == kQwen2) return std::make_unique<HandWritten<match_words<1>>>();
  if (pattern == kLlama3) return std::make_unique<HandWritten<match_words<3>>>();
  if (pattern == kDeepSeekNumbers) return std::make_unique<HandWritten<match_numbers>>();
  if (pattern == kDeepSeekCjk) return std::make_unique<HandWritten<match_cjk>>();
  if (pattern == kDeepSeekWords) return std::make_unique<HandWritten<match_deepseek_words>>();
  return make_foreign_matcher(pattern, where);
}

std::unique_ptr<Matcher> make_literal_matcher(const std::string& literal) { return std::make_unique<Literal>(literal); }

std::unique_ptr<Matcher> make_digit_matcher() { return std::make_unique<HandWritten<match_digit>>(); }

std::vector<Piece> PreTokenizer::split(std::string_view text) const {
  std::vector<Piece> pieces;
  if (!text.empty()) pieces.push_back({0, static_cast<uint32_t>(text.size()), false});
  std::vector<Piece> next;
  for (const SplitStep& step : steps) {
    next.clear();
    for (const Piece& piece : pieces) append_split(text, piece, step, next);
    pieces.swap(next);
  }
  if (!add_prefix_space && !use_gpt2_pattern) return pieces;
  next.clear();
  for (const Piece& piece : pieces) split_with_space(text, piece, next);
  return next;
}

/// What the pre-tokenizer ByteLevel does.
void PreTokenizer::split_with_space(std::string_view text, Piece piece, std::vector<Piece>& out) const {
  const bool spaced = add_prefix_space && text[piece.begin] != ' ';
  if (!use_gpt2_pattern) return out.push_back({piece.begin, piece.end, spaced});
  std::string with_space;
  std::string_view bytes = text.substr(piece.begin, piece.end - piece.begin);
  if (spaced) bytes = with_space = " " + std::string(bytes);
  std::vector<Part> parts;
  gpt2_matcher().find(bytes, parts);
  for (const Part& part : parts) {
    const bool first = spaced && part.begin == 0;
    const uint32_t shift = spaced ? 1 : 0;
    out.push_back({piece.begin + (first ? 0 : part.begin - shift), piece.begin + part.end - shift, first});
  }
}

}  // namespace cohort::text::bpe
