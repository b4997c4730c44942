#include "core/text/jinja/access.h"

#include <algorithm>

#include "core/base/text_util.h"
#include "core/text/jinja/python_text.h"
#include "core/text/jinja/value_text.h"

namespace cohort::text::jinja {
namespace {

bool is_method_of_text(std::string_view name) {
  static constexpr std::string_view kNames[] = {
      "strip",        "lstrip",       "rstrip",     "split",      "rsplit",   "splitlines", "startswith", "endswith",
      "replace",      "upper",        "lower",      "title",      "find",     "rfind",      "index",      "rindex",
      "count",        "join",         "capitalize", "casefold",   "center",   "encode",     "expandtabs", "format",
      "format_map",   "isalnum",      "isalpha",    "isascii",    "isdigit",  "islower",    "isdecimal",  "isidentifier",
      "isnumeric",    "isprintable",  "isspace",    "istitle",    "isupper",  "ljust",      "maketrans",  "partition",
      "removeprefix", "removesuffix", "rjust",      "rpartition", "swapcase", "translate",  "zfill"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

bool is_method_of_mapping(std::string_view name) {
  static constexpr std::string_view kNames[] = {"clear", "copy",    "fromkeys",   "get",    "items", "keys",
                                                "pop",   "popitem", "setdefault", "update", "values"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

bool is_method_of_sequence(const Sequence& sequence, std::string_view name) {
  static constexpr std::string_view kOfAll[] = {"count", "index"};
  static constexpr std::string_view kOfLists[] = {"append", "clear", "copy", "extend", "insert", "pop", "remove", "reverse", "sort"};
  if (sequence.kind == Sequence::Kind::kGenerator || sequence.kind == Sequence::Kind::kView) return false;
  if (std::find(std::begin(kOfAll), std::end(kOfAll), name) != std::end(kOfAll)) return true;
  return sequence.kind == Sequence::Kind::kList && std::find(std::begin(kOfLists), std::end(kOfLists), name) != std::end(kOfLists);
}

Value loop_attribute(const Loop& loop, const std::string& name, const Value& absent, Heap& heap, const Value& self) {
  const auto index = static_cast<int64_t>(loop.index), size = static_cast<int64_t>(loop.items.size());
  if (name == "index") return Value::integer(index + 1);
  if (name == "index0") return Value::integer(index);
  if (name == "revindex") return Value::integer(size - index);
  if (name == "revindex0") return Value::integer(size - index - 1);
  if (name == "first") return Value::boolean(index == 0);
  if (name == "last") return Value::boolean(index + 1 == size);
  if (name == "length") return Value::integer(size);
  if (name == "depth") return Value::integer(loop.depth);
  if (name == "depth0") return Value::integer(loop.depth - 1);
  if (name == "previtem") return index > 0 ? loop.items[loop.index - 1] : Value::undefined("there is no previous item");
  if (name == "nextitem") return index + 1 < size ? loop.items[loop.index + 1] : Value::undefined("there is no next item");
  if (name == "cycle" || name == "changed") return heap.function({.name = name, .self = self, .is_method = true});
  return absent;
}

/// What Python's getattr() finds; nullopt-like: undefined `absent` when there is nothing.
bool find_python_attribute(Heap& heap, const Value& object, const std::string& name, Value& found) {
  if (name.starts_with("__") || (object.is<Namespace*>() && name.starts_with("_")))
    throw Problem("access to the attribute " + printable(name) + " is not safe");
  const bool is_method = (object.is_text() && is_method_of_text(name)) || (object.is<Mapping*>() && is_method_of_mapping(name)) ||
                         (object.is<Sequence*>() && is_method_of_sequence(*object.get<Sequence*>(), name));
  if (is_method) {
    found = heap.function({.name = name, .self = object, .is_method = true});
    return true;
  }
  if (object.is<Namespace*>()) {
    const auto& attributes = object.get<Namespace*>()->attributes;
    if (const auto attribute = attributes.find(name); attribute != attributes.end()) {
      found = attribute->second;
      return true;
    }
  }
  if (object.is<Loop*>()) {
    found = loop_attribute(*object.get<Loop*>(), name, Value::undefined(""), heap, object);
    return !found.is_undefined() || name == "previtem" || name == "nextitem";
  }
  const bool other_member = (object.is_integer() && (name == "real" || name == "imag" || name == "numerator" || name == "denominator")) ||
                            (object.is<Function*>() && !object.get<Function*>()->is_method);
  if (other_member) throw Problem("the attribute " + printable(name) + " of a " + type_name(object) + " is not supported");
  return false;
}

bool find_python_item(Heap& heap, const Value& object, const Value& key, Value& found) {
  if (object.is<Mapping*>()) {
    heap.spend(object.get<Mapping*>()->cost_of_finding(key));
    const Value* value = object.get<Mapping*>()->find(key);
    if (value != nullptr) found = *value;
    return value != nullptr;
  }
  if (!key.is_integer()) return false;
  int64_t index = key.as_integer();
  if (is_indexed(object)) {
    const std::vector<Value>& items = object.get<Sequence*>()->items;
    if (index < 0) index += static_cast<int64_t>(items.size());
    if (index < 0 || index >= static_cast<int64_t>(items.size())) return false;
    found = items[static_cast<size_t>(index)];
    return true;
  }
  if (object.is_text()) {
    heap.spend(1 + object.as_text().size());
    const std::vector<size_t> at = character_offsets(object.as_text().text());
    const auto size = static_cast<int64_t>(at.size()) - 1;
    if (index < 0) index += size;
    if (index < 0 || index >= size) return false;
    found = Value::text(object.as_text().cut(at[static_cast<size_t>(index)], at[static_cast<size_t>(index) + 1]));
    return true;
  }
  return false;
}

Value nothing_there(Heap& heap, const Value& object, const Value& key) {
  const std::string name = key.is_text() ? printable(key.as_text().text()) : key.is_integer() ? to_text(heap, key).text() : type_name(key);
  return Value::undefined("expected a " + type_name(object) + " with '" + name + "', found none");
}

}  // namespace

Value get_item(Heap& heap, const Value& object, const Value& key) {
  if (object.is_undefined()) refuse_undefined(object);
  Value found;
  if (find_python_item(heap, object, key, found)) return found;
  if (key.is_text() && find_python_attribute(heap, object, key.as_text().text(), found)) return found;
  return nothing_there(heap, object, key);
}

Value get_attribute(Heap& heap, const Value& object, const std::string& name) {
  if (object.is_undefined()) refuse_undefined(object);
  Value found;
  if (find_python_attribute(heap, object, name, found)) return found;
  const Value key = Value::own_text(name);
  if (find_python_item(heap, object, key, found)) return found;
  return nothing_there(heap, object, key);
}

Value get_slice(Heap& heap, const Value& object, const Value& begin, const Value& end, const Value& step_value) {
  if (object.is_undefined()) refuse_undefined(object);
  if (!object.is_text() && !is_indexed(object)) throw Problem("slice: expected a string or a list, found " + type_name(object));
  for (const Value* part : {&begin, &end, &step_value})
    if (!part->is_none() && !part->is_integer()) throw Problem("slice: expected integers, found " + type_name(*part));
  const int64_t step = step_value.is_none() ? 1 : step_value.as_integer();
  if (step == 0) throw Problem("slice: expected a step other than 0");
  std::vector<size_t> at;
  if (object.is_text()) at = character_offsets(object.as_text().text());
  heap.spend(1 + 2 * at.size());
  const int64_t size = object.is_text() ? static_cast<int64_t>(at.size()) - 1 : static_cast<int64_t>(object.get<Sequence*>()->items.size());
  const int64_t lowest = step > 0 ? 0 : -1, highest = step > 0 ? size : size - 1;
  const auto clamped = [&](const Value& value, int64_t otherwise) {
    if (value.is_none()) return otherwise;
    const int64_t i = value.as_integer() < 0 ? std::max(value.as_integer() + size, lowest) : value.as_integer();
    return std::clamp(i, lowest, highest);
  };
  const int64_t first = clamped(begin, step > 0 ? lowest : highest), last = clamped(end, step > 0 ? highest : lowest);
  MarkedText text;
  std::vector<Value> items;
  const int64_t stride = std::clamp(step, -(size + 1), size + 1);  // no overflow in the loop
  for (int64_t i = first; step > 0 ? i < last : i > last; i += stride) {
    const auto here = static_cast<size_t>(i);
    if (object.is_text()) {
      text.append(object.as_text(), at[here], at[here + 1]);
    } else {
      items.push_back(object.get<Sequence*>()->items[here]);
    }
  }
  return object.is_text() ? Value::text(std::move(text)) : heap.sequence(object.get<Sequence*>()->kind, std::move(items));
}

}  // namespace cohort::text::jinja
