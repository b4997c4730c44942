#include "core/reward/countdown.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "core/text/utf8.h"

namespace cohort::reward {
namespace {

constexpr size_t kMaxTokens = 256;
constexpr int kMaxDepth = 32;

std::optional<int64_t> parse_integer(std::string_view text) {
  text = text::trim(text);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

struct Puzzle {
  int64_t target = 0;
  std::vector<int64_t> numbers;  // ascending
};

std::optional<Puzzle> parse_puzzle(std::string_view text) {
  const size_t semicolon = text.find(';');
  if (semicolon == std::string_view::npos) return std::nullopt;
  Puzzle puzzle;
  const std::optional<int64_t> target = parse_integer(text.substr(0, semicolon));
  if (!target) return std::nullopt;
  puzzle.target = *target;
  text.remove_prefix(semicolon + 1);
  while (true) {
    const size_t comma = std::min(text.find(','), text.size());
    const std::optional<int64_t> number = parse_integer(text.substr(0, comma));
    if (!number || puzzle.numbers.size() >= 64) return std::nullopt;
    puzzle.numbers.push_back(*number);
    if (comma == text.size()) break;
    text.remove_prefix(comma + 1);
  }
  std::sort(puzzle.numbers.begin(), puzzle.numbers.end());
  return puzzle;
}

/// An operator, a bracket, or a number ('n').
struct Token {
  char kind;
  int64_t value = 0;
};

enum class Reading { kDone, kNotAnExpression, kTooMany };

Reading tokenize(std::string_view text, std::vector<Token>& tokens) {
  for (size_t i = 0; i < text.size();) {
    if (tokens.size() >= kMaxTokens) return Reading::kTooMany;
    const Character character = character_at(text, i);
    if (!character.valid) return Reading::kNotAnExpression;
    if (character.code >= '0' && character.code <= '9') {
      const size_t end = std::min(text.find_first_not_of("0123456789", i), text.size());
      const std::optional<int64_t> value = parse_integer(text.substr(i, end - i));
      if (!value) return Reading::kNotAnExpression;  // too large to be one of the given numbers
      tokens.push_back({'n', *value});
      i = end;
      continue;
    }
    i += character.length;
    switch (character.code) {
      case ' ':
      case '\t':
      case '\n':
        continue;
      case '+':
      case '-':
      case '*':
      case '/':
      case '(':
      case ')':
        tokens.push_back({static_cast<char>(character.code)});
        continue;
      case 0x2212:
        tokens.push_back({'-'});
        continue;
      case 0xD7:
        tokens.push_back({'*'});
        continue;
      case 0xF7:
        tokens.push_back({'/'});
        continue;
      default:
        return Reading::kNotAnExpression;
    }
  }
  return Reading::kDone;
}

/// numerator / denominator, lowest terms, denominator > 0.
struct Rational {
  int64_t numerator = 0;
  int64_t denominator = 1;
};

/// Recursive descent over the tokens. The first failure stays: WRONG for what is no expression, UNDECIDED for what is too much for us.
class Evaluator {
 public:
  explicit Evaluator(const std::vector<Token>& tokens) : tokens_(tokens) {}

  records::Outcome equals(int64_t target) {
    const Rational value = sum(0);
    if (failure_) return *failure_;
    if (at_ != tokens_.size()) return records::WRONG;
    return value.denominator == 1 && value.numerator == target ? records::CORRECT : records::WRONG;
  }

 private:
  Rational sum(int depth) {
    Rational value = product(depth);
    while (!failure_ && (peek() == '+' || peek() == '-')) {
      const char op = take().kind;
      value = add(value, product(depth), op == '-');
    }
    return value;
  }

  Rational product(int depth) {
    Rational value = factor(depth);
    while (!failure_ && (peek() == '*' || peek() == '/')) {
      const char op = take().kind;
      Rational right = factor(depth);
      if (failure_) return {};
      if (op == '/') {
        if (right.numerator == 0) return fail(records::WRONG);
        std::swap(right.numerator, right.denominator);
      }
      value = multiply(value, right);
    }
    return value;
  }

  Rational factor(int depth) {
    if (depth >= kMaxDepth) return fail(records::UNDECIDED);
    if (peek() == 'n') return {take().value, 1};
    if (peek() == '-') {
      take();
      return add({}, factor(depth + 1), true);
    }
    if (peek() != '(') return fail(records::WRONG);
    take();
    const Rational value = sum(depth + 1);
    if (failure_) return {};
    if (peek() != ')') return fail(records::WRONG);
    take();
    return value;
  }

  Rational add(const Rational& a, const Rational& b, bool subtract) {
    int64_t left = 0;
    int64_t right = 0;
    int64_t total = 0;
    int64_t denominator = 0;
    bool overflow = __builtin_mul_overflow(a.numerator, b.denominator, &left);
    overflow |= __builtin_mul_overflow(b.numerator, a.denominator, &right);
    overflow |= __builtin_mul_overflow(a.denominator, b.denominator, &denominator);
    overflow |= subtract ? __builtin_sub_overflow(left, right, &total) : __builtin_add_overflow(left, right, &total);
    return overflow ? fail(records::UNDECIDED) : lowest_terms(total, denominator);
  }

  Rational multiply(const Rational& a, const Rational& b) {
    int64_t numerator = 0;
    int64_t denominator = 0;
    bool overflow = __builtin_mul_overflow(a.numerator, b.numerator, &numerator);
    overflow |= __builtin_mul_overflow(a.denominator, b.denominator, &denominator);
    return overflow ? fail(records::UNDECIDED) : lowest_terms(numerator, denominator);
  }

  Rational lowest_terms(int64_t numerator, int64_t denominator) {
    // The absolute value of the smallest integer does not exist.
    if (numerator == INT64_MIN || denominator == INT64_MIN) return fail(records::UNDECIDED);
    const int64_t divisor = std::gcd(numerator, denominator) * (denominator < 0 ? -1 : 1);
    return {numerator / divisor, denominator / divisor};
  }

  char peek() const { return at_ < tokens_.size() ? tokens_[at_].kind : '\0'; }
  Token take() { return tokens_[at_++]; }
  Rational fail(records::Outcome outcome) {
    if (!failure_) failure_ = outcome;
    return {};
  }

  const std::vector<Token>& tokens_;
  size_t at_ = 0;
  std::optional<records::Outcome> failure_;
};

bool uses_exactly(const std::vector<Token>& tokens, const std::vector<int64_t>& numbers) {
  std::vector<int64_t> used;
  for (const Token& token : tokens)
    if (token.kind == 'n') used.push_back(token.value);
  std::sort(used.begin(), used.end());
  return used == numbers;
}

}  // namespace

records::Outcome verify_countdown(std::string_view ground_truth, std::string_view answer) {
  const std::optional<Puzzle> puzzle = parse_puzzle(ground_truth);
  if (!puzzle) return records::UNDECIDED;
  const size_t equals = answer.find('=');
  if (equals != std::string_view::npos && parse_integer(answer.substr(equals + 1)) != puzzle->target) return records::WRONG;
  std::vector<Token> tokens;
  const Reading reading = tokenize(answer.substr(0, equals), tokens);
  if (reading == Reading::kTooMany) return records::UNDECIDED;
  if (reading == Reading::kNotAnExpression || !uses_exactly(tokens, puzzle->numbers)) return records::WRONG;
  return Evaluator(tokens).equals(puzzle->target);
}

}  // namespace cohort::reward
