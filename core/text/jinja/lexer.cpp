#include "core/text/jinja/lexer.h"

#include <algorithm>
#include <charconv>

#include "core/base/text_util.h"
#include "core/text/jinja/bounds.h"
#include "core/text/python.h"
#include "core/text/utf8.h"

namespace cohort::text::jinja {
namespace {

constexpr size_t npos = std::string_view::npos;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}
  std::vector<Token> run();

 private:
  [[noreturn]] void fail(const std::string& problem) const { throw Problem("line " + std::to_string(line_) + ": " + problem); }
  bool at(std::string_view text) const { return source_.substr(position_, text.size()) == text; }
  void advance(size_t end);
  void add(Token::Kind kind, std::string text = {});

  void read_data();
  void add_data(size_t end, char sign, bool is_variable);
  bool read_raw(size_t begin);
  void read_comment();
  void read_tag(bool is_variable);
  bool read_tag_end(bool is_variable);
  void skip_space();
  void read_expression_token();
  void read_number();
  void read_string();
  void read_operator();
  void balance(const std::string& operation);
  std::string unescape(std::string_view text) const;

  std::string_view source_;
  size_t position_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // the last tag ended with a line
  std::string open_;           // brackets that are open in this tag, as what closes them
  std::vector<Token> tokens_;
};

/// Counts the lines that are left behind.
void Lexer::advance(size_t end) {
  line_ += static_cast<int>(
      std::count(source_.begin() + static_cast<std::ptrdiff_t>(position_), source_.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
  line_starting_ = end > position_ && source_[end - 1] == '\n';
  position_ = end;
}

void Lexer::add(Token::Kind kind, std::string text) { tokens_.push_back({.kind = kind, .line = line_, .text = std::move(text)}); }

std::vector<Token> Lexer::run() {
  while (position_ < source_.size()) read_data();
  add(Token::Kind::kEnd);
  return std::move(tokens_);
}

/// Text up to the next tag, and the tag.
void Lexer::read_data() {
  size_t begin = position_;
  while ((begin = source_.find('{', begin)) != npos && begin + 1 < source_.size() &&
         std::string_view("{%#").find(source_[begin + 1]) == npos)
    ++begin;
  if (begin == npos || begin + 1 >= source_.size()) {
    if (position_ < source_.size()) add(Token::Kind::kData, std::string(source_.substr(position_)));
    return advance(source_.size());
  }
  if (source_[begin + 1] == '%' && read_raw(begin)) return;
  const char type = source_[begin + 1];
  const char next = begin + 2 < source_.size() ? source_[begin + 2] : '\0';
  const char sign = next == '-' || next == '+' ? next : '\0';
  add_data(begin, sign, type == '{');
  advance(begin + (sign == '\0' ? 2 : 3));
  line_starting_ = false;
  if (type == '#') return read_comment();
  read_tag(type == '{');
}

/// The text before a tag that begins at `end`.
void Lexer::add_data(size_t end, char sign, bool is_variable) {
  std::string_view text = source_.substr(position_, end - position_);
  if (sign == '-') {
    text = text.substr(0, end_without_space(text));
  } else if (sign != '+' && !is_variable) {
    const size_t newline = text.rfind('\n');
    const size_t line_begin = newline == npos ? 0 : newline + 1;
    if ((line_begin > 0 || line_starting_) && begin_without_space(text.substr(line_begin)) == text.size() - line_begin)
      text = text.substr(0, line_begin);
  }
  if (!text.empty()) add(Token::Kind::kData, std::string(text));
}

/// {% raw %} … {% endraw %}, where that stands at `begin`.
bool Lexer::read_raw(size_t begin) {
  const auto space_end = [&](size_t from) { return from + begin_without_space(source_.substr(from)); };
  const auto sign_at = [&](size_t from) {
    return from < source_.size() && (source_[from] == '-' || source_[from] == '+') ? source_[from] : '\0';
  };
  const char sign = sign_at(begin + 2);
  size_t end = space_end(begin + (sign == '\0' ? 2 : 3));
  if (source_.substr(end, 3) != "raw") return false;
  end = space_end(end + 3);
  const bool strips = source_.substr(end, 3) == "-%}";
  if (!strips && source_.substr(end, 2) != "%}") return false;
  end = strips ? space_end(end + 3) : end + 2;
  add_data(begin, sign, false);
  advance(end);
  for (size_t close = end; (close = source_.find("{%", close)) != npos; close += 2) {
    const char close_sign = sign_at(close + 2);
    size_t behind = space_end(close + (close_sign == '\0' ? 2 : 3));
    if (source_.substr(behind, 6) != "endraw") continue;
    behind = space_end(behind + 6);
    const char end_sign = sign_at(behind);
    if (end_sign != '\0') ++behind;
    if (source_.substr(behind, 2) != "%}") continue;
    behind += 2;
    if (end_sign == '-') behind = space_end(behind);
    if (end_sign == '\0' && behind < source_.size() && source_[behind] == '\n') ++behind;
    add_data(close, close_sign, false);
    advance(behind);
    return true;
  }
  fail("expected {% endraw %}, found the end of the template");
}

void Lexer::read_comment() {
  const size_t close = source_.find("#}", position_);
  if (close == npos) fail("expected the end of a comment, found the end of the template");
  const char sign = close > position_ ? source_[close - 1] : '\0';
  size_t end = close + 2;
  if (sign == '-') {
    end += begin_without_space(source_.substr(end));
  } else if (sign != '+' && end < source_.size() && source_[end] == '\n') {
    ++end;
  }
  advance(end);
}

void Lexer::read_tag(bool is_variable) {
  add(is_variable ? Token::Kind::kVariableBegin : Token::Kind::kBlockBegin);
  open_.clear();
  while (true) {
    skip_space();
    if (position_ >= source_.size()) fail("expected the end of a tag, found the end of the template");
    if (open_.empty() && read_tag_end(is_variable)) return;
    read_expression_token();
  }
}

bool Lexer::read_tag_end(bool is_variable) {
  const std::string_view closing = is_variable ? "}}" : "%}";
  const char sign = source_[position_] == '-' || (!is_variable && source_[position_] == '+') ? source_[position_] : '\0';
  const size_t close = position_ + (sign == '\0' ? 0 : 1);
  if (source_.substr(close, 2) != closing) return false;
  size_t end = close + 2;
  if (sign == '-') end += begin_without_space(source_.substr(end));
  if (sign == '\0' && !is_variable && end < source_.size() && source_[end] == '\n') ++end;
  add(is_variable ? Token::Kind::kVariableEnd : Token::Kind::kBlockEnd);
  advance(end);
  return true;
}

void Lexer::skip_space() { advance(position_ + begin_without_space(source_.substr(position_))); }

void Lexer::read_expression_token() {
  const char c = source_[position_];
  if (is_digit(c)) return read_number();
  if (c == '\'' || c == '"') return read_string();
  if (!is_name_start(c)) return read_operator();
  size_t end = position_;
  while (end < source_.size() && (is_name_start(source_[end]) || is_digit(source_[end]))) ++end;
  add(Token::Kind::kName, std::string(source_.substr(position_, end - position_)));
  advance(end);
}

void Lexer::read_number() {
  size_t end = position_;
  const auto skip_digits = [&] {
    while (end < source_.size() && is_digit(source_[end])) ++end;
  };
  skip_digits();
  bool is_float = false;
  const bool behind_dot = position_ > 0 && source_[position_ - 1] == '.';
  if (!behind_dot && end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1])) {
    is_float = true;
    ++end;
    skip_digits();
  }
  const size_t sign = end + 1 < source_.size() && (source_[end + 1] == '+' || source_[end + 1] == '-') ? 1 : 0;
  const bool has_exponent =
      end + 1 + sign < source_.size() && (source_[end] == 'e' || source_[end] == 'E') && is_digit(source_[end + 1 + sign]);
  if (!behind_dot && has_exponent) {
    is_float = true;
    end += 1 + sign;
    skip_digits();
  }
  const std::string_view text = source_.substr(position_, end - position_);
  const bool odd = end < source_.size() && (is_name_start(source_[end]) || static_cast<unsigned char>(source_[end]) >= 0x80);
  if (odd || (!is_float && text.size() > 1 && text[0] == '0'))
    fail("expected a decimal number, found " + printable(source_.substr(position_, end - position_ + 1)));
  Token token = {.kind = is_float ? Token::Kind::kFloat : Token::Kind::kInteger, .line = line_, .text = std::string(text)};
  const auto result =
      is_float ? std::from_chars(text.begin(), text.end(), token.number) : std::from_chars(text.begin(), text.end(), token.integer);
  if (result.ec != std::errc()) fail("expected a number of 64 bits, found " + printable(text));
  tokens_.push_back(std::move(token));
  advance(end);
}

void Lexer::read_string() {
  const char quote = source_[position_];
  size_t end = position_ + 1;
  while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
  if (end >= source_.size()) fail("expected the end of a string, found the end of the template");
  add(Token::Kind::kString, unescape(source_.substr(position_ + 1, end - position_ - 1)));
  advance(end + 1);
}

/// Escapes as in Python's strings; one that Python does not know stays as it is.
std::string Lexer::unescape(std::string_view text) const {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      result += text[i];
      continue;
    }
    const char c = text[++i];  // read_string() saw it
    static constexpr std::string_view kLetters = "abfnrtv\\'\"", kMeanings = "\a\b\f\n\r\t\v\\'\"";
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (const size_t known = kLetters.find(c); known != npos) {
      result += kMeanings[known];
    } else if (c == '\n') {
      continue;
    } else if (digits > 0) {
      uint32_t code = 0;
      const std::string_view hex = text.substr(i + 1, digits);
      const auto parsed = std::from_chars(hex.begin(), hex.end(), code, 16);
      if (hex.size() != digits || parsed.ptr != hex.end()) fail(std::string("expected hex digits behind \\") + c);
      if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
        fail("expected a character behind \\" + std::string(1, c) + ", found a surrogate or none");
      append_character(result, code);
      i += digits;
    } else if (c == 'N' || (c >= '0' && c <= '7')) {
      fail("the escape \\" + std::string(1, c) + " is not supported");
    } else {
      result += {'\\', c};
    }
  }
  return result;
}

void Lexer::read_operator() {
  static constexpr std::string_view kOperators[] = {"//", "**", "==", "!=", "<=", ">=", "+", "-", "/", "*", "%", "~", "[",
                                                    "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
  for (const std::string_view candidate : kOperators) {
    if (!at(candidate)) continue;
    add(Token::Kind::kOperator, std::string(candidate));
    balance(tokens_.back().text);
    return advance(position_ + candidate.size());
  }
  fail("expected an expression, found " + printable(source_.substr(position_, character_at(source_, position_).length)));
}

void Lexer::balance(const std::string& operation) {
  if (operation == "{") open_ += '}';
  if (operation == "(") open_ += ')';
  if (operation == "[") open_ += ']';
  if (operation != "}" && operation != ")" && operation != "]") return;
  if (open_.empty() || open_.back() != operation[0]) fail("expected balanced brackets, found " + operation);
  open_.pop_back();
}

}  // namespace

std::string normalise_newlines(std::string_view source) {
  std::string result;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
    result += source[i] == '\r' ? '\n' : source[i];
  }
  if (!result.empty() && result.back() == '\n') result.pop_back();
  return result;
}

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace cohort::text::jinja
