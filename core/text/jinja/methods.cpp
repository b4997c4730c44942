// Methods of strings, mappings, lists and of `loop`. Those that change what they are called on are refused, as in Jinja2's sandbox.
#include <algorithm>

#include "core/base/text_util.h"
#include "core/text/jinja/comparison.h"
#include "core/text/jinja/evaluator.h"
#include "core/text/jinja/python_text.h"
#include "core/text/python.h"

namespace cohort::text::jinja {
namespace {

const MarkedText& require_text(const std::string& method, const Value& value) {
  if (!value.is_text()) throw Problem(method + ": expected a string, found " + type_name(value));
  return value.as_text();
}

int64_t require_integer(const std::string& method, const Value& value) {
  if (!value.is_integer()) throw Problem(method + ": expected an integer, found " + type_name(value));
  return value.as_integer();
}

/// An argument that may be left out or none.
std::optional<std::string_view> optional_text(const std::string& method, const std::optional<Value>& value) {
  if (!value || value->is_none()) return std::nullopt;
  return std::string_view(require_text(method, *value).text());
}

Value list_of(Heap& heap, std::vector<MarkedText> parts) {
  heap.spend(4 * parts.size());
  std::vector<Value> items;
  for (MarkedText& part : parts) items.push_back(Value::text(std::move(part)));
  return heap.list(std::move(items));
}

Value strip_text(const std::string& name, const MarkedText& self, const Arguments& arguments) {
  const auto bound = bind(name, arguments, {"chars"});
  const auto characters = optional_text(name, bound[0]);
  const Side side = name == "strip" ? Side::kBoth : name == "lstrip" ? Side::kLeft : Side::kRight;
  return Value::text(strip(self, side, characters ? &*characters : nullptr));
}

Value split_text(Heap& heap, const std::string& name, const MarkedText& self, const Arguments& arguments) {
  const auto bound = bind(name, arguments, {"sep", "maxsplit"});
  const auto separator = optional_text(name, bound[0]);
  const int64_t count = bound[1] ? require_integer(name, *bound[1]) : -1;
  heap.spend(self.size() + 1);
  return list_of(heap, (name == "split" ? split : split_from_right)(self, separator ? &*separator : nullptr, count));
}

/// Any of several where a tuple is given.
Value has_affix(const std::string& name, const MarkedText& self, const Arguments& arguments) {
  const auto bound = bind(name, arguments, {"prefix"}, 1);
  std::vector<Value> candidates = {*bound[0]};
  if (bound[0]->is<Sequence*>() && bound[0]->get<Sequence*>()->kind == Sequence::Kind::kTuple)
    candidates = bound[0]->get<Sequence*>()->items;
  for (const Value& candidate : candidates) {
    const std::string& affix = require_text(name, candidate).text();
    if (name == "startswith" ? self.text().starts_with(affix) : self.text().ends_with(affix)) return Value::boolean(true);
  }
  return Value::boolean(false);
}

/// Position in characters; -1 when it is not there.
int64_t position_of(const MarkedText& self, const std::string& wanted, bool last) {
  const size_t found = last ? self.text().rfind(wanted) : self.text().find(wanted);
  return found == std::string::npos ? -1 : static_cast<int64_t>(character_count(std::string_view(self.text()).substr(0, found)));
}

Value find_text(const std::string& name, const MarkedText& self, const Arguments& arguments) {
  const auto bound = bind(name, arguments, {"sub"}, 1);
  const int64_t position = position_of(self, require_text(name, *bound[0]).text(), name == "rfind" || name == "rindex");
  if (position < 0 && name.ends_with("index")) throw Problem(name + ": expected a part of the string, found another");
  return Value::integer(position);
}

Value count_text(const MarkedText& self, const Arguments& arguments) {
  const auto bound = bind("count", arguments, {"sub"}, 1);
  const std::string& wanted = require_text("count", *bound[0]).text();
  if (wanted.empty()) return Value::integer(static_cast<int64_t>(character_count(self.text())) + 1);
  int64_t count = 0;
  for (size_t at = 0; (at = self.text().find(wanted, at)) != std::string::npos; at += wanted.size()) ++count;
  return Value::integer(count);
}

Value join_text(Heap& heap, const MarkedText& self, const Arguments& arguments) {
  const auto bound = bind("join", arguments, {"iterable"}, 1);
  MarkedText result;
  bool first = true;
  for (const Value& item : iterate(heap, *bound[0])) {
    const MarkedText& text = require_text("join", item);
    heap.spend_bytes(text.size() + self.size());
    if (!first) result.append(self);
    first = false;
    result.append(text);
    if (result.size() > kMaxTextBytes) throw Problem("join: expected a shorter result");
  }
  return Value::text(std::move(result));
}

Value remove_affix(const std::string& name, const MarkedText& self, const Arguments& arguments) {
  const auto bound = bind(name, arguments, {"prefix"}, 1);
  const std::string& affix = require_text(name, *bound[0]).text();
  const bool prefix = name == "removeprefix";
  const bool there = prefix ? self.text().starts_with(affix) : self.text().ends_with(affix);
  if (!there) return Value::text(self);
  return Value::text(prefix ? self.cut(affix.size(), self.size()) : self.cut(0, self.size() - affix.size()));
}

Value replace_text(Heap& heap, const MarkedText& self, const Arguments& arguments) {
  const auto bound = bind("replace", arguments, {"old", "new", "count"}, 2);
  const int64_t count = bound[2] ? require_integer("replace", *bound[2]) : -1;
  MarkedText result = replace(self, require_text("replace", *bound[0]).text(), require_text("replace", *bound[1]), count, kMaxTextBytes);
  heap.spend_bytes(result.size());
  return Value::text(std::move(result));
}

Value split_text_lines(Heap& heap, const MarkedText& self, const Arguments& arguments) {
  bind("splitlines", arguments, {});
  heap.spend(self.size());
  return list_of(heap, split_lines(self));
}

/// isdigit() and its kin, of ASCII text.
Value ask_text(const std::string& name, const MarkedText& self, const Arguments& arguments) {
  bind(name, arguments, {});
  bool holds = !self.empty();
  for (const char c : self.text()) {
    if (static_cast<unsigned char>(c) >= 0x80) throw Problem(name + ": expected ASCII, found other characters");
    const bool digit = c >= '0' && c <= '9', letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    holds = holds && (name == "isspace"   ? is_python_space(static_cast<unsigned char>(c))
                      : name == "isalpha" ? letter
                      : name == "isalnum" ? letter || digit
                                          : digit);
  }
  return Value::boolean(holds);
}

/// Searching for a text may take as long as both lengths multiplied; stripping characters always does.
void spend_search(Heap& heap, const std::string& name, const MarkedText& self, const Arguments& arguments) {
  const uint64_t at_once = name.ends_with("strip") ? 8 : 64;
  const auto spend_text = [&](const Value& sought) {
    if (sought.is_text()) heap.spend(1 + self.size() * sought.as_text().size() / at_once);
  };
  const auto spend = [&](const Value& argument) {
    spend_text(argument);
    if (!argument.is<Sequence*>()) return;
    for (const Value& item : argument.get<Sequence*>()->items) spend_text(item);
  };
  for (const Value& argument : arguments.positional) spend(argument);
  for (const auto& [unused, argument] : arguments.named) spend(argument);
}

Value call_text_method(Heap& heap, const std::string& name, const MarkedText& self, const Arguments& arguments) {
  heap.spend_bytes(self.size());
  if (name != "join") spend_search(heap, name, self, arguments);
  if (name == "strip" || name == "lstrip" || name == "rstrip") return strip_text(name, self, arguments);
  if (name == "split" || name == "rsplit") return split_text(heap, name, self, arguments);
  if (name == "startswith" || name == "endswith") return has_affix(name, self, arguments);
  if (name == "replace") return replace_text(heap, self, arguments);
  if (name == "find" || name == "rfind" || name == "index" || name == "rindex") return find_text(name, self, arguments);
  if (name == "count") return count_text(self, arguments);
  if (name == "join") return join_text(heap, self, arguments);
  if (name == "removeprefix" || name == "removesuffix") return remove_affix(name, self, arguments);
  if (name == "splitlines") return split_text_lines(heap, self, arguments);
  if (name == "isdigit" || name == "isspace" || name == "isalpha" || name == "isalnum") return ask_text(name, self, arguments);
  const bool changes_case = name == "upper" || name == "lower" || name == "title" || name == "capitalize";
  if (!changes_case) throw Problem("the method " + name + " of a string is not supported");
  bind(name, arguments, {});
  return Value::text(change_case(self, name == "upper"   ? Case::kUpper
                                       : name == "lower" ? Case::kLower
                                       : name == "title" ? Case::kTitle
                                                         : Case::kCapitalize));
}

Value call_mapping_method(Heap& heap, const std::string& name, const Mapping& self, const Arguments& arguments) {
  if (name == "get") {
    const auto bound = bind(name, arguments, {"key", "default"}, 1);
    heap.spend(self.cost_of_finding(*bound[0]));
    const Value* found = self.find(*bound[0]);
    return found != nullptr ? *found : bound[1].value_or(Value());
  }
  if (name != "keys" && name != "values" && name != "items" && name != "copy")
    throw Problem("the method " + name + " of a mapping is not supported");
  bind(name, arguments, {});
  if (name == "copy") {
    Value copy = heap.mapping();
    heap.spend(self.items.size());
    copy.get<Mapping*>()->items = self.items;
    return copy;
  }
  std::vector<Value> items;
  for (const auto& [key, value] : self.items) items.push_back(name == "keys" ? key : name == "values" ? value : heap.tuple({key, value}));
  return heap.sequence(Sequence::Kind::kView, std::move(items));
}

Value call_sequence_method(Heap& heap, const std::string& name, const Sequence& self, const Arguments& arguments) {
  if (name == "copy") return bind(name, arguments, {}), heap.list(self.items);
  if (name != "count" && name != "index") throw Problem("the method " + name + " of a list is not supported");
  const auto bound = bind(name, arguments, {"value"}, 1);
  int64_t count = 0;
  for (size_t i = 0; i < self.items.size(); ++i) {
    if (!equal(heap, self.items[i], *bound[0])) continue;
    if (name == "index") return Value::integer(static_cast<int64_t>(i));
    ++count;
  }
  if (name == "index") throw Problem("index: expected an item of the list, found another");
  return Value::integer(count);
}

}  // namespace

Value call_method(Heap& heap, const Function& method, const Arguments& arguments) {
  const Value& self = method.self;
  if (self.is_text()) return call_text_method(heap, method.name, self.as_text(), arguments);
  if (self.is<Mapping*>()) return call_mapping_method(heap, method.name, *self.get<Mapping*>(), arguments);
  if (self.is<Sequence*>()) return call_sequence_method(heap, method.name, *self.get<Sequence*>(), arguments);
  const Loop& loop = *self.get<Loop*>();
  if (method.name != "cycle") throw Problem("loop." + method.name + " is not supported");
  if (arguments.positional.empty() || !arguments.named.empty()) throw Problem("loop.cycle: expected values");
  return arguments.positional[loop.index % arguments.positional.size()];
}

}  // namespace cohort::text::jinja
