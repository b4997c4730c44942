// The filters that chat templates use. What generators are in Jinja2 is one here too: without length, walked once.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <map>

#include "core/base/text_util.h"
#include "core/text/jinja/access.h"
#include "core/text/jinja/arithmetic.h"
#include "core/text/jinja/comparison.h"
#include "core/text/jinja/evaluator.h"
#include "core/text/jinja/python_text.h"
#include "core/text/jinja/value_text.h"

namespace cohort::text::jinja {
namespace {

using Filter = Value (*)(Evaluator&, const std::string& name, const Value& input, const Arguments& arguments);

/// What most filters of strings do first: str().
MarkedText soft_text(Evaluator& evaluator, const Value& value) {
  MarkedText text = to_text(evaluator.heap(), value);
  evaluator.heap().spend_bytes(text.size());
  return text;
}

bool flag(const std::optional<Value>& value) { return value && truth(*value); }

// ---- Strings ------------------------------------------------------------------------------------------------------------------------

Value filter_trim(Evaluator& e, const std::string& name, const Value& input, const Arguments& arguments) {
  const auto bound = bind(name, arguments, {"chars"});
  const MarkedText text = soft_text(e, input);
  e.heap().spend_bytes(text.size());
  if (!bound[0] || bound[0]->is_none()) return Value::text(strip(text, Side::kBoth, nullptr));
  if (!bound[0]->is_text()) throw Problem("trim: expected a string, found " + type_name(*bound[0]));
  const std::string_view characters = bound[0]->as_text().text();
  e.heap().spend(1 + uint64_t{text.size()} * characters.size() / 8);
  return Value::text(strip(text, Side::kBoth, &characters));
}

Value filter_case(Evaluator& e, const std::string& name, const Value& input, const Arguments& arguments) {
  bind(name, arguments, {});
  const Case to = name == "upper"   ? Case::kUpper
                  : name == "lower" ? Case::kLower
                  : name == "title" ? Case::kTitleFilter
                                    : Case::kCapitalize;
  return Value::text(change_case(soft_text(e, input), to));
}

Value filter_string(Evaluator& e, const std::string& name, const Value& input, const Arguments& arguments) {
  bind(name, arguments, {});
  return Value::text(soft_text(e, input));
}

Value filter_replace(Evaluator& e, const std::string& name, const Value& input, const Arguments& arguments) {
  const auto bound = bind(name, arguments, {"old", "new", "count"}, 2);
  if (bound[2] && !bound[2]->is_none() && !bound[2]->is_integer())
    throw Problem("replace: expected an integer, found " + type_name(*bound[2]));
  const int64_t count = bound[2] && !bound[2]->is_none() ? bound[2]->as_integer() : -1;
  const MarkedText text = soft_text(e, input);
  const MarkedText old = soft_text(e, *bound[0]);
  e.heap().spend(1 + uint64_t{text.size()} * old.size() / 64);
  MarkedText result = replace(text, old.text(), soft_text(e, *bound[1]), count, kMaxTextBytes);
  e.heap().spend_bytes(result.size());
  return Value::text(std::move(result));
}

Value filter_indent(Evaluator& e, const std::string& name, const Value& input, const Arguments& arguments) {
  const auto bound = bind(name, arguments, {"width", "first", "blank"});
  if (!input.is_text()) throw Problem("indent: expected a string, found " + type_name(input));
  MarkedText indent = MarkedText::own("    ");
  if (bound[0] && bound[0]->is_text()) indent = bound[0]->as_text();
  if (bound[0] && !bound[0]->is_text()) {
    if (!bound[0]->is_integer() || bound[0]->as_integer() > 1000) throw Problem("indent: expected a width up to 1000");
    indent = MarkedText::own(std::string(static_cast<size_t>(std::max<int64_t>(0, bound[0]->as_integer())), ' '));
  }
  MarkedText text = input.as_text();
  text.append_own("\n");  // Jinja2 does so
  MarkedText result;
  bool is_first = true;
  for (const MarkedText& line : split_lines(text)) {
    e.heap().spend_bytes(line.size() + indent.size());
    if (!is_first) result.append_own("\n");
    if (is_first ? flag(bound[1]) : flag(bound[2]) || !line.empty()) result.append(indent);
    is_first = false;
    result.append(line);
    if (result.size() > kMaxTextBytes) throw Problem("indent: expected a shorter result");
  }
  return Value::text(std::move(result));
}

Value filter_tojson(Evaluator& e, const std::string& name, const Value& input, const Arguments& arguments) {
  const auto bound = bind(name, arguments, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style = {.ascii = flag(bound[0]), .sort_keys = flag(bound[3])};
  if (bound[1] && !bound[1]->is_none()) {
    style.has_indent = true;
    style.item_separator = ",";
    if (!bound[1]->is_text() && !bound[1]->is_integer()) throw Problem("tojson: expected an indent, found " + type_name(*bound[1]));
    if (bound[1]->is_integer() && bound[1]->as_integer() > 100) throw Problem("tojson: expected an indent up to 100");
    style.indent = bound[1]->is_text() ? bound[1]->as_text().text()
                                       : std::string(static_cast<size_t>(std::max<int64_t>(0, bound[1]->as_integer())), ' ');
  }
  if (bound[2] && !bound[2]->is_none()) {
    const std::vector<Value> separators = iterate(e.heap(), *bound[2]);
    if (separators.size() != 2 || !separators[0].is_text() || !separators[1].is_text()) throw Problem("tojson: expected two separators");
    style.item_separator = separators[0].as_text().text();
    style.key_separator = separators[1].as_text().text();
  }
  return Value::text(to_json_text(e.heap(), input, style));
}

// ---- Numbers ------------------------------------------------------------------------------------------------------------------------

std::optional<double> parsed_float(const Value& value) {
  if (value.is_number()) return value.as_double();
  if (!value.is_text()) return std::nullopt;
  const MarkedText text = strip(value.as_text(), Side::kBoth, nullptr);
  const std::string_view digits = std::string_view(text.text()).substr(text.text().starts_with('+') ? 1 : 0);
  if (digits.find_first_not_of("0123456789.eE+-") != std::string_view::npos) {
    if (digits.find('_') != std::string_view::npos || digits.find_first_of("nN") != std::string_view::npos)
      throw Problem("float, int: expected decimal digits");
    return std::nullopt;
  }
  double number = 0.0;
  const auto result = std::from_chars(digits.begin(), digits.end(), number);
  return result.ec == std::errc() && result.ptr == digits.end() && !digits.starts_with('+') ? std::optional(number) : std::nullopt;
}

Value filter_int(Evaluator&, const std::string& name, const Value& input, const Arguments& arguments) {
  const auto bound = bind(name, arguments, {"default"});
  if (input.is_undefined()) throw Problem(*input.get<Undefined>().what);
  const Value otherwise = bound[0].value_or(Value::integer(0));
  if (input.is_integer()) return Value::integer(input.as_integer());
  if (input.is_text()) {
    const MarkedText text = strip(input.as_text(), Side::kBoth, nullptr);
    const std::string_view digits = std::string_view(text.text()).substr(text.text().starts_with('+') ? 1 : 0);
    int64_t number = 0;
    const auto result = std::from_chars(digits.begin(), digits.end(), number);
    if (result.ptr == digits.end() && result.ec == std::errc::result_out_of_range) throw Problem("int: expected 64 bits");
    if (result.ptr == digits.end() && result.ec == std::errc()) return Value::integer(number);
  }
  const std::optional<double> number = parsed_float(input);
  if (!number || !std::isfinite(*number)) return otherwise;
  if (std::abs(*number) >= 9.2e18) throw Problem("int: expected 64 bits");
  return Value::integer(static_cast<int64_t>(*number));
}

Value filter_float(Evaluator&, const std::string& name, const Value& input, const Arguments& arguments) {
  const auto bound = bind(name, arguments, {"default"});
  if (input.is_undefined()) throw Problem(*input.get<Undefined>().what);
  const std::optional<double> number = parsed_float(input);
  return number ? Value(*number) : bound[0].value_or(Value(0.0));
}

Value filter_abs(Evaluator&, const std::string& name, const Value& input, const Arguments& arguments) {
  bind(name, arguments, {});
  if (input.is<double>()) return Value(std::abs(input.get<double>()));
  if (!input.is_integer()) throw Problem("abs: expected a number, found " + type_name(input));
  return input.as_integer() < 0 ? negative(input) : Value::integer(input.as_integer());
}

// ---- Lists --------------------------------------------------------------------------------------------------------------------------

Value filter_length(Evaluator& e, const std::string& name, const Value& input, const Arguments& arguments) {
  bind(name, arguments, {});
  if (input.is_text()) e.heap().spend_bytes(input.as_text().size());
  return Value::integer(length(input));
}

Value filter_default(Evaluator&, const std::string& name, const Value& input, const Arguments& arguments) {
  const auto bound = bind(name, arguments, {"default_value", "boolean"});
  const bool absent = input.is_undefined() || (flag(bound[1]) && !truth(input));
  return absent ? bound[0].value_or(Value::own_text("")) : input;
}

/// a.b.0 as Jinja2's make_attrgetter reads it: keys, and indexes where a part is a number.
Value attribute_of(Evaluator& e, Value item, const Value& path) {
  if (path.is_integer()) return get_item(e.heap(), item, path);
  if (!path.is_text()) throw Problem("expected the name of an attribute, found " + type_name(path));
  const std::string_view dot = ".";
  for (const MarkedText& part : split(path.as_text(), &dot, -1)) {
    e.heap().spend_bytes(part.size() + 8);
    const std::string& name = part.text();
    const bool is_index = !name.empty() && name.size() < 10 && name.find_first_not_of("0123456789") == std::string::npos;
    item = get_item(e.heap(), item, is_index ? Value::integer(std::stoll(name)) : Value::text(part));
  }
  return item;
}

Value filter_join(Evaluator& e, const std::string& name, const Value& input, const Arguments& arguments) {
  const auto bound = bind(name, arguments, {"d", "attribute"});
  const MarkedText between = bound[0] ? soft_text(e, *bound[0]) : MarkedText();
  MarkedText result;
  bool first = true;
  for (const Value& item : iterate(e.heap(), input)) {
    const MarkedText text = soft_text(e, bound[1] && !bound[1]->is_none() ? attribute_of(e, item, *bound[1]) : item);
    e.heap().spend_bytes(text.size() + between.size());
    if (!first) result.append(between);
    first = false;
    result.append(text);
    if (result.size() > kMaxTextBytes) throw Problem("join: expected a shorter result");
  }
  return Value::text(std::move(result));
}

Value filter_first(Evaluator& e, const std::string& name, const Value& input, const Arguments& arguments) {
  bind(name, arguments, {});
  if (input.is<Sequence*>() && input.get<Sequence*>()->kind == Sequence::Kind::kGenerator) {
    Sequence& generator = *input.get<Sequence*>();
    return generator.consumed < generator.items.size() ? generator.items[generator.consumed++]
                                                       : Value::undefined("first: the list is empty");
  }
  const std::vector<Value> items = iterate(e.heap(), input);
  return items.empty() ? Value::undefined("first: the list is empty") : items.front();
}

void require_reversible(const std::string& name, const Value& input) {
  if (input.is<Sequence*>() && input.get<Sequence*>()->kind == Sequence::Kind::kGenerator)
    throw Problem(name + ": expected a list, found a generator; put |list before it");
  if (input.is_undefined()) throw Problem(*input.get<Undefined>().what);
}

Value filter_last(Evaluator& e, const std::string& name, const Value& input, const Arguments& arguments) {
  bind(name, arguments, {});
  require_reversible(name, input);
  const std::vector<Value> items = iterate(e.heap(), input);
  return items.empty() ? Value::undefined("last: the list is empty") : items.back();
}

Value filter_list(Evaluator& e, const std::string& name, const Value& input, const Arguments& arguments) {
  bind(name, arguments, {});
  return e.heap().list(iterate(e.heap(), input));
}

Value filter_reverse(Evaluator& e, const std::string& name, const Value& input, const Arguments& arguments) {
  bind(name, arguments, {});
  if (input.is_text()) return get_slice(e.heap(), input, Value(), Value(), Value::integer(-1));
  require_reversible(name, input);
  std::vector<Value> items = iterate(e.heap(), input);
  std::reverse(items.begin(), items.end());
  return e.heap().generator(std::move(items));
}

Value filter_items(Evaluator& e, const std::string& name, const Value& input, const Arguments& arguments) {
  bind(name, arguments, {});
  std::vector<Value> items;
  if (!input.is_undefined()) {
    if (!input.is<Mapping*>()) throw Problem("items: expected a mapping, found " + type_name(input));
    for (const auto& [key, value] : input.get<Mapping*>()->items) items.push_back(e.heap().tuple({key, value}));
  }
  return e.heap().generator(std::move(items));
}

/// select, reject, selectattr, rejectattr.
Value filter_select(Evaluator& e, const std::string& name, const Value& input, const Arguments& arguments) {
  if (!truth(input)) return e.heap().generator({});  // Jinja2 looks no further
  const bool by_attribute = name.ends_with("attr"), wanted = name.starts_with("select");
  Arguments rest = arguments;
  const auto take_first = [&](const char* what) {
    if (rest.positional.empty()) throw Problem(name + ": expected " + what);
    Value value = rest.positional.front();
    rest.positional.erase(rest.positional.begin());
    return value;
  };
  const Value attribute = by_attribute ? take_first("the name of an attribute") : Value();
  const bool has_test = !rest.positional.empty();
  const Value test = has_test ? take_first("a test") : Value();
  if (has_test && !test.is_text()) throw Problem(name + ": expected the name of a test, found " + type_name(test));
  std::vector<Value> kept;
  for (const Value& item : iterate(e.heap(), input)) {
    const Value value = by_attribute ? attribute_of(e, item, attribute) : item;
    const bool holds = has_test ? e.apply_test(test.as_text().text(), value, rest) : truth(value);
    if (holds == wanted) kept.push_back(item);
  }
  return e.heap().generator(std::move(kept));
}

/// map(attribute=…, default=…) and map('filter', …).
Value filter_map(Evaluator& e, const std::string& name, const Value& input, const Arguments& arguments) {
  if (!truth(input)) return e.heap().generator({});
  std::vector<Value> mapped;
  if (arguments.positional.empty()) {
    Arguments named = arguments;
    const auto bound = bind(name, named, {"attribute", "default"}, 1);
    for (const Value& item : iterate(e.heap(), input)) {
      const Value value = attribute_of(e, item, *bound[0]);
      mapped.push_back(value.is_undefined() && bound[1] && !bound[1]->is_none() ? *bound[1] : value);
    }
  } else {
    Arguments rest = arguments;
    const Value filter = rest.positional.front();
    rest.positional.erase(rest.positional.begin());
    if (!filter.is_text()) throw Problem("map: expected the name of a filter, found " + type_name(filter));
    for (const Value& item : iterate(e.heap(), input)) mapped.push_back(e.apply_filter(filter.as_text().text(), item, rest));
  }
  return e.heap().generator(std::move(mapped));
}

/// Strings without their case, for sorting and for unique.
Value without_case(const Value& value, bool case_sensitive) {
  return value.is_text() && !case_sensitive ? Value::text(change_case(value.as_text(), Case::kLower)) : value;
}

Value filter_unique(Evaluator& e, const std::string& name, const Value& input, const Arguments& arguments) {
  const auto bound = bind(name, arguments, {"case_sensitive", "attribute"});
  std::vector<Value> kept, seen;
  for (const Value& item : iterate(e.heap(), input)) {
    const Value key = without_case(bound[1] && !bound[1]->is_none() ? attribute_of(e, item, *bound[1]) : item, flag(bound[0]));
    if (key.is<Sequence*>() || key.is<Mapping*>()) throw Problem("unique: expected strings or numbers, found " + type_name(key));
    if (std::any_of(seen.begin(), seen.end(), [&](const Value& other) { return equal(e.heap(), other, key); })) continue;
    seen.push_back(key);
    kept.push_back(item);
  }
  return e.heap().generator(std::move(kept));
}

/// Stable, by keys that less() orders.
std::vector<Value> sorted(Evaluator& e, std::vector<std::pair<Value, Value>> keyed, bool reverse) {
  const auto before = [&](const auto& a, const auto& b) {
    return reverse ? less(e.heap(), b.first, a.first) : less(e.heap(), a.first, b.first);
  };
  std::stable_sort(keyed.begin(), keyed.end(), before);
  std::vector<Value> items;
  for (auto& item : keyed) items.push_back(std::move(item.second));
  return items;
}

Value filter_sort(Evaluator& e, const std::string& name, const Value& input, const Arguments& arguments) {
  const auto bound = bind(name, arguments, {"reverse", "case_sensitive", "attribute"});
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : iterate(e.heap(), input)) {
    const Value key = bound[2] && !bound[2]->is_none() ? attribute_of(e, item, *bound[2]) : item;
    keyed.emplace_back(without_case(key, flag(bound[1])), item);
  }
  return e.heap().list(sorted(e, std::move(keyed), flag(bound[0])));
}

Value filter_dictsort(Evaluator& e, const std::string& name, const Value& input, const Arguments& arguments) {
  const auto bound = bind(name, arguments, {"case_sensitive", "by", "reverse"});
  if (!input.is<Mapping*>()) throw Problem("dictsort: expected a mapping, found " + type_name(input));
  const std::string by = bound[1] && bound[1]->is_text() ? bound[1]->as_text().text() : "key";
  if (by != "key" && by != "value") throw Problem("dictsort: expected to sort by key or value, found " + printable(by));
  std::vector<std::pair<Value, Value>> keyed;
  for (const auto& [key, value] : input.get<Mapping*>()->items)
    keyed.emplace_back(without_case(by == "key" ? key : value, flag(bound[0])), e.heap().tuple({key, value}));
  return e.heap().list(sorted(e, std::move(keyed), flag(bound[2])));
}

Value filter_safe(Evaluator&, const std::string&, const Value&, const Arguments&) {
  throw Problem("the filter safe is supported at the end of {{ … }} only");
}

const std::map<std::string, Filter, std::less<>>& filters() {
  static const std::map<std::string, Filter, std::less<>> all = {
      {"abs", filter_abs},         {"capitalize", filter_case},   {"count", filter_length},      {"d", filter_default},
      {"default", filter_default}, {"dictsort", filter_dictsort}, {"first", filter_first},       {"float", filter_float},
      {"indent", filter_indent},   {"int", filter_int},           {"items", filter_items},       {"join", filter_join},
      {"last", filter_last},       {"length", filter_length},     {"list", filter_list},         {"lower", filter_case},
      {"map", filter_map},         {"reject", filter_select},     {"rejectattr", filter_select}, {"replace", filter_replace},
      {"reverse", filter_reverse}, {"safe", filter_safe},         {"select", filter_select},     {"selectattr", filter_select},
      {"sort", filter_sort},       {"string", filter_string},     {"title", filter_case},        {"tojson", filter_tojson},
      {"trim", filter_trim},       {"unique", filter_unique},     {"upper", filter_case}};
  return all;
}

}  // namespace

Value Evaluator::apply_filter(const std::string& name, const Value& input, const Arguments& arguments) {
  const auto found = filters().find(name);
  if (found == filters().end()) throw Problem("the filter " + printable(name) + " is not supported");
  const int before = depth_;
  if (++depth_ > kMaxEvaluationDepth) throw Problem("expected filters nested less deeply");
  Value result = found->second(*this, name, input, arguments);
  depth_ = before;
  return result;
}

}  // namespace cohort::text::jinja
