// What can stand behind `is`.
#include <algorithm>
#include <map>

#include "core/base/text_util.h"
#include "core/text/jinja/comparison.h"
#include "core/text/jinja/evaluator.h"

namespace cohort::text::jinja {
namespace {

/// Tests without argument.
using SimpleTest = bool (*)(const Value&);

bool is_iterable(const Value& v) { return v.is_text() || v.is<Mapping*>() || v.is<Sequence*>() || v.is_undefined() || v.is<Loop*>(); }

/// What has a length and an item by key. Python's views and generators have no items.
bool is_sequence(const Value& v) {
  if (v.is<Sequence*>()) return v.get<Sequence*>()->kind != Sequence::Kind::kGenerator && v.get<Sequence*>()->kind != Sequence::Kind::kView;
  return v.is_text() || v.is<Mapping*>() || v.is_undefined();
}

int64_t require_integer(const Value& v) {
  if (!v.is_integer()) throw Problem("expected an integer to test, found " + type_name(v));
  return v.as_integer();
}

bool is_case(const Value& v, bool upper) {
  if (!v.is_text()) throw Problem("lower, upper: expected a string to test, found " + type_name(v));
  bool has_letter = false;
  for (const char c : v.as_text().text()) {
    if (static_cast<unsigned char>(c) >= 0x80) throw Problem("lower, upper: expected ASCII, found other characters");
    const bool is_upper = c >= 'A' && c <= 'Z', is_lower = c >= 'a' && c <= 'z';
    if (upper ? is_lower : is_upper) return false;
    has_letter = has_letter || is_upper || is_lower;
  }
  return has_letter;
}

const std::map<std::string, SimpleTest, std::less<>>& simple_tests() {
  static const std::map<std::string, SimpleTest, std::less<>> all = {
      {"defined", [](const Value& v) { return !v.is_undefined(); }},
      {"undefined", [](const Value& v) { return v.is_undefined(); }},
      {"none", [](const Value& v) { return v.is_none(); }},
      {"boolean", [](const Value& v) { return v.is<bool>(); }},
      {"true", [](const Value& v) { return v.is<bool>() && v.get<bool>(); }},
      {"false", [](const Value& v) { return v.is<bool>() && !v.get<bool>(); }},
      {"integer", [](const Value& v) { return v.is<int64_t>(); }},
      {"float", [](const Value& v) { return v.is<double>(); }},
      {"number", [](const Value& v) { return v.is_number(); }},
      {"string", [](const Value& v) { return v.is_text(); }},
      {"mapping", [](const Value& v) { return v.is<Mapping*>(); }},
      {"sequence", is_sequence},
      {"iterable", is_iterable},
      {"callable", [](const Value& v) { return v.is<Function*>() || v.is<Loop*>() || v.is_undefined(); }},
      {"odd", [](const Value& v) { return require_integer(v) % 2 != 0; }},
      {"even", [](const Value& v) { return require_integer(v) % 2 == 0; }},
      {"lower", [](const Value& v) { return is_case(v, false); }},
      {"upper", [](const Value& v) { return is_case(v, true); }},
  };
  return all;
}

bool same_object(Heap& heap, const Value& a, const Value& b) {
  if (a.is_undefined() || b.is_undefined()) throw Problem("sameas: expected none, a boolean, a list or a mapping");
  if (a.is<Sequence*>() && b.is<Sequence*>()) return a.get<Sequence*>() == b.get<Sequence*>();
  if (a.is<Mapping*>() && b.is<Mapping*>()) return a.get<Mapping*>() == b.get<Mapping*>();
  if (a.is<bool>() != b.is<bool>() || a.is<double>() || b.is<double>() || a.is_text() || b.is_text()) {
    if (a.is<bool>() != b.is<bool>()) return false;
    throw Problem("sameas: expected none, a boolean, a list or a mapping");
  }
  return equal(heap, a, b);
}

}  // namespace

bool Evaluator::apply_test(const std::string& name, const Value& input, const Arguments& arguments) {
  if (const auto simple = simple_tests().find(name); simple != simple_tests().end()) {
    bind(name, arguments, {});
    return simple->second(input);
  }
  static const std::map<std::string, std::string, std::less<>> comparisons = {
      {"eq", "=="}, {"equalto", "=="}, {"==", "=="}, {"ne", "!="}, {"!=", "!="},         {"lt", "<"},  {"lessthan", "<"}, {"<", "<"},
      {"le", "<="}, {"<=", "<="},      {"gt", ">"},  {">", ">"},   {"greaterthan", ">"}, {"ge", ">="}, {">=", ">="},      {"in", "in"}};
  const auto comparison = comparisons.find(name);
  if (comparison == comparisons.end() && name != "sameas" && name != "divisibleby")
    throw Problem("the test " + printable(name) + " is not supported");
  const Value other = *bind(name, arguments, {"other"}, 1)[0];
  if (comparison != comparisons.end()) return compare(comparison->second, input, other);
  if (name == "sameas") return same_object(heap_, input, other);
  if (require_integer(other) == 0) throw Problem("divisibleby: expected a number other than 0");
  return other.as_integer() == -1 || require_integer(input) % other.as_integer() == 0;
}

}  // namespace cohort::text::jinja
