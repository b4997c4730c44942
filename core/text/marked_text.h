#pragma once
/// Text that remembers, byte by byte, who wrote it: the template, or somebody outside (a message, a tool, a variable).
///
/// A chat template gives one string, in which "<|im_end|>" may be the template's or a user's. Only what the template itself wrote may
/// become a special token; the marks keep that apart through every cut, join and replacement.

#include <cstddef>
#include <string>
#include <string_view>

namespace cohort::text {

class MarkedText {
 public:
  MarkedText() = default;
  static MarkedText own(std::string_view text) { return {text, kOwn}; }
  static MarkedText foreign(std::string_view text) { return {text, kForeign}; }

  const std::string& text() const { return text_; }
  size_t size() const { return text_.size(); }
  bool empty() const { return text_.empty(); }
  bool foreign_at(size_t byte) const { return marks_[byte] == kForeign; }
  /// Whether any byte of [begin, end) is foreign.
  bool foreign_in(size_t begin, size_t end) const { return std::string_view(marks_).substr(begin, end - begin).find(kForeign) != npos; }
  bool any_foreign() const { return foreign_in(0, size()); }

  void append(const MarkedText& more) {
    text_ += more.text_;
    marks_ += more.marks_;
  }
  void append(const MarkedText& from, size_t begin, size_t end) {
    text_.append(from.text_, begin, end - begin);
    marks_.append(from.marks_, begin, end - begin);
  }
  void append_own(std::string_view more) {
    text_ += more;
    marks_.append(more.size(), kOwn);
  }
  void append_foreign(std::string_view more) {
    text_ += more;
    marks_.append(more.size(), kForeign);
  }
  /// Bytes [begin, end).
  MarkedText cut(size_t begin, size_t end) const {
    MarkedText part;
    part.append(*this, begin, end);
    return part;
  }
  /// Another text with the same marks: it must have the same length.
  MarkedText with_text(std::string text) const {
    MarkedText other;
    other.text_ = std::move(text);
    other.marks_ = marks_;
    return other;
  }

  bool operator==(const MarkedText& other) const { return text_ == other.text_; }

 private:
  static constexpr size_t npos = std::string_view::npos;
  static constexpr char kOwn = 0;
  static constexpr char kForeign = 1;
  MarkedText(std::string_view text, char mark) : text_(text), marks_(text.size(), mark) {}

  std::string text_;
  std::string marks_;  // one for each byte
};

}  // namespace cohort::text
