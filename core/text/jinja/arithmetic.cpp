#include "core/text/jinja/arithmetic.h"

#include <algorithm>
#include <cmath>

namespace cohort::text::jinja {
namespace {

[[noreturn]] void refuse_large() { throw Problem("expected integers of 64 bits, found a larger one"); }

int64_t checked_sum(int64_t a, int64_t b) {
  int64_t result = 0;
  if (__builtin_add_overflow(a, b, &result)) refuse_large();
  return result;
}

int64_t checked_difference(int64_t a, int64_t b) {
  int64_t result = 0;
  if (__builtin_sub_overflow(a, b, &result)) refuse_large();
  return result;
}

int64_t checked_product(int64_t a, int64_t b) {
  int64_t result = 0;
  if (__builtin_mul_overflow(a, b, &result)) refuse_large();
  return result;
}

int64_t integer_power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  if (base == 0 || base == 1) return exponent == 0 ? 1 : base;
  if (base == -1) return exponent % 2 == 0 ? 1 : -1;
  for (int64_t i = 0; i < exponent; ++i) result = checked_product(result, base);
  return result;
}

int64_t floor_divide(int64_t a, int64_t b) {
  if (a == INT64_MIN && b == -1) refuse_large();
  return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
}

Value integer_arithmetic(std::string_view operation, int64_t a, int64_t b) {
  if (operation == "+") return Value::integer(checked_sum(a, b));
  if (operation == "-") return Value::integer(checked_difference(a, b));
  if (operation == "*") return Value::integer(checked_product(a, b));
  if (operation == "**" && b >= 0) return Value::integer(integer_power(a, b));
  if (b == 0 && operation != "**") throw Problem("division by zero");
  if (operation == "/") return Value(static_cast<double>(a) / static_cast<double>(b));
  if (operation == "//") return Value::integer(floor_divide(a, b));
  if (operation == "%") return Value::integer(b == -1 ? 0 : a % b + (a % b != 0 && (a % b < 0) != (b < 0) ? b : 0));
  if (a == 0) throw Problem("division by zero");
  return Value(std::pow(static_cast<double>(a), static_cast<double>(b)));
}

Value float_arithmetic(std::string_view operation, double a, double b) {
  if (operation == "+") return Value(a + b);
  if (operation == "-") return Value(a - b);
  if (operation == "*") return Value(a * b);
  if (operation == "**") throw Problem("** with fractions is not supported");
  if (b == 0.0) throw Problem("division by zero");
  if (operation == "/") return Value(a / b);
  double rest = std::fmod(a, b);
  if (rest != 0.0 && (rest < 0) != (b < 0)) rest += b;
  if (operation == "%") return Value(rest == 0.0 ? std::copysign(0.0, b) : rest);
  const double quotient = (a - rest) / b;  // as CPython: float_floor_div
  double floored = std::floor(quotient);
  if (quotient - floored > 0.5) floored += 1.0;
  return Value(quotient == 0.0 ? std::copysign(0.0, a / b) : floored);
}

Value repeat(Heap& heap, const Value& value, int64_t times) {
  const size_t size = value.is_text() ? value.as_text().size() : value.get<Sequence*>()->items.size();
  const auto count = static_cast<uint64_t>(std::max<int64_t>(times, 0));
  if (size != 0 && count > kMaxTextBytes / size) throw Problem("*: expected a shorter result");
  heap.spend(1 + count + size * count);
  MarkedText text;
  std::vector<Value> items;
  for (uint64_t i = 0; i < count && size != 0; ++i) {
    if (value.is_text()) {
      text.append(value.as_text());
    } else {
      items.insert(items.end(), value.get<Sequence*>()->items.begin(), value.get<Sequence*>()->items.end());
    }
  }
  return value.is_text() ? Value::text(std::move(text)) : heap.sequence(value.get<Sequence*>()->kind, std::move(items));
}

Value joined(Heap& heap, const Value& a, const Value& b) {
  if (a.is_text()) {
    if (a.as_text().size() + b.as_text().size() > kMaxTextBytes) throw Problem("+: expected a shorter string");
    heap.spend_bytes(a.as_text().size() + b.as_text().size());
    MarkedText text = a.as_text();
    text.append(b.as_text());
    return Value::text(std::move(text));
  }
  std::vector<Value> items = a.get<Sequence*>()->items;
  items.insert(items.end(), b.get<Sequence*>()->items.begin(), b.get<Sequence*>()->items.end());
  return heap.sequence(a.get<Sequence*>()->kind, std::move(items));
}

}  // namespace

Value arithmetic(Heap& heap, std::string_view operation, const Value& a, const Value& b) {
  if (a.is_undefined()) refuse_undefined(a);
  if (b.is_undefined()) refuse_undefined(b);
  if (a.is_integer() && b.is_integer()) return integer_arithmetic(operation, a.as_integer(), b.as_integer());
  if (a.is_number() && b.is_number()) return float_arithmetic(operation, a.as_double(), b.as_double());
  if (operation == "+" && ((a.is_text() && b.is_text()) || same_kind(a, b))) return joined(heap, a, b);
  if (operation == "*" && (a.is_text() || is_list_like(a)) && b.is_integer()) return repeat(heap, a, b.as_integer());
  if (operation == "*" && (b.is_text() || is_list_like(b)) && a.is_integer()) return repeat(heap, b, a.as_integer());
  if (operation == "%" && a.is_text()) throw Problem("% on a string is not supported");
  throw Problem("expected two numbers or two strings for " + std::string(operation) + ", found " + type_name(a) + " and " + type_name(b));
}

Value negative(const Value& value) {
  if (value.is_undefined()) refuse_undefined(value);
  if (value.is_integer()) return Value::integer(checked_difference(0, value.as_integer()));
  if (value.is<double>()) return Value(-value.get<double>());
  throw Problem("-: expected a number, found " + type_name(value));
}

}  // namespace cohort::text::jinja
