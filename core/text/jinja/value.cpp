#include "core/text/jinja/value.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <nlohmann/json.hpp>

#include "core/base/text_util.h"
#include "core/text/jinja/python_text.h"

namespace cohort::text::jinja {
namespace {

[[noreturn]] void refuse_undefined(const Value& value) { throw Problem(*value.get<Undefined>().what); }

void require_shallow(int depth) {
  if (depth > kMaxValueDepth) throw Problem("expected values nested up to " + std::to_string(kMaxValueDepth) + " levels, found more");
}

/// -1, 0, 1 of two numbers, exactly; NaN equals nothing and is less than nothing.
int compare_numbers(const Value& a, const Value& b) {
  if (a.is_integer() && b.is_integer()) {
    const int64_t x = a.as_integer(), y = b.as_integer();
    return x < y ? -1 : x > y ? 1 : 0;
  }
  const auto wide = [](const Value& v) {
    return v.is_integer() ? static_cast<long double>(v.as_integer()) : static_cast<long double>(v.as_double());
  };
  const long double x = wide(a), y = wide(b);
  return x < y ? -1 : x > y ? 1 : x == y ? 0 : 2;
}

bool is_list_like(const Value& value) {
  return value.is<Sequence*>() &&
         (value.get<Sequence*>()->kind == Sequence::Kind::kList || value.get<Sequence*>()->kind == Sequence::Kind::kTuple);
}

/// Has items by index.
bool is_indexed(const Value& value) {
  return is_list_like(value) || (value.is<Sequence*>() && value.get<Sequence*>()->kind == Sequence::Kind::kRange);
}

bool same_kind(const Value& a, const Value& b) {
  return is_list_like(a) && is_list_like(b) && a.get<Sequence*>()->kind == b.get<Sequence*>()->kind;
}

bool equal_mappings(Heap& heap, const Mapping& a, const Mapping& b, int depth) {
  if (a.items.size() != b.items.size()) return false;
  for (const auto& [key, value] : a.items) {
    heap.spend(b.cost_of_finding(key));
    const Value* other = b.find(key);
    if (other == nullptr || !equal(heap, value, *other, depth + 1)) return false;
  }
  return true;
}

bool equal_sequences(Heap& heap, const Sequence& a, const Sequence& b, int depth) {
  if (a.items.size() != b.items.size()) return false;
  for (size_t i = 0; i < a.items.size(); ++i)
    if (!equal(heap, a.items[i], b.items[i], depth + 1)) return false;
  return true;
}

/// Keys of mappings are texts, numbers or none: what is told apart without a heap.
bool equal_keys(const Value& a, const Value& b) {
  if (a.is_text() && b.is_text()) return a.as_text() == b.as_text();
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
  return a.is_none() && b.is_none();
}

}  // namespace

// ---- Containers and the heap --------------------------------------------------------------------------------------------------------

const Value* Mapping::find(const Value& key) const {
  for (const auto& item : items)
    if (equal_keys(item.first, key)) return &item.second;
  return nullptr;
}

const Value* Mapping::find(std::string_view key) const {
  for (const auto& item : items)
    if (item.first.is_text() && item.first.as_text().text() == key) return &item.second;
  return nullptr;
}

uint64_t Mapping::cost_of_finding(const Value& key) const {
  uint64_t bytes = 0;
  if (key.is_text())
    for (const auto& item : items)
      if (item.first.is_text() && item.first.as_text().size() == key.as_text().size()) bytes += key.as_text().size();
  return 1 + items.size() + bytes / 64;
}

void Mapping::set(Value key, Value value) {
  if (!key.is_text() && !key.is_number() && !key.is_none()) throw Problem("expected a string or a number as key, found " + type_name(key));
  for (auto& item : items)
    if (equal_keys(item.first, key)) {
      item.second = std::move(value);
      return;
    }
  items.emplace_back(std::move(key), std::move(value));
}

void Scope::set(const std::string& name, Value value) { names.insert_or_assign(name, std::move(value)); }

const Value* Scope::find(std::string_view name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->parent)
    if (const auto known = scope->names.find(name); known != scope->names.end()) return &known->second;
  return nullptr;
}

struct Heap::Storage {
  std::deque<Sequence> sequences;
  std::deque<Mapping> mappings;
  std::deque<Namespace> namespaces;
  std::deque<Loop> loops;
  std::deque<Function> functions;
  std::deque<Scope> scopes;
};

Heap::Heap() : storage_(std::make_unique<Storage>()) {}
Heap::~Heap() = default;

void Heap::spend(uint64_t steps) {
  steps_ += steps;
  if (steps_ > kMaxSteps) throw Problem("expected a rendering of at most " + std::to_string(kMaxSteps) + " steps, found more");
}

Value Heap::sequence(Sequence::Kind kind, std::vector<Value> items) {
  spend(4 + items.size());
  storage_->sequences.push_back({kind, std::move(items), 0});
  return Value(&storage_->sequences.back());
}

Value Heap::mapping() {
  spend(4);
  return Value(&storage_->mappings.emplace_back());
}

Value Heap::name_space() {
  spend(4);
  return Value(&storage_->namespaces.emplace_back());
}

Value Heap::loop(std::vector<Value> items, int depth) {
  spend(4 + items.size());
  storage_->loops.push_back({std::move(items), 0, depth});
  return Value(&storage_->loops.back());
}

Value Heap::function(Function function) {
  spend(4);
  storage_->functions.push_back(std::move(function));
  return Value(&storage_->functions.back());
}

Scope* Heap::scope(Scope* parent) {
  spend(4);
  storage_->scopes.push_back({parent, {}});
  return &storage_->scopes.back();
}

Value Heap::from_json(const nlohmann::ordered_json& json, int depth) {
  require_shallow(depth);
  spend(1);
  using Type = nlohmann::ordered_json::value_t;
  switch (json.type()) {
    case Type::null:
      return Value();
    case Type::boolean:
      return Value::boolean(json.get<bool>());
    case Type::number_integer:
      return Value::integer(json.get<int64_t>());
    case Type::number_unsigned:
      if (json.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) throw Problem("expected integers up to 2^63 - 1, found " + json.dump());
      return Value::integer(json.get<int64_t>());
    case Type::number_float:
      return Value(json.get<double>());
    case Type::string:
      spend_bytes(json.get_ref<const std::string&>().size());
      return Value::text(MarkedText::foreign(json.get_ref<const std::string&>()));
    case Type::array: {
      std::vector<Value> items;
      for (const auto& item : json) items.push_back(from_json(item, depth + 1));
      return list(std::move(items));
    }
    case Type::object: {
      Value object = mapping();
      for (const auto& [key, item] : json.items())
        object.get<Mapping*>()->items.emplace_back(Value::text(MarkedText::foreign(key)), from_json(item, depth + 1));
      return object;
    }
    default:
      throw Problem("expected JSON, found binary data");
  }
}

// ---- Questions about values ---------------------------------------------------------------------------------------------------------

std::string type_name(const Value& value) {
  if (value.is_undefined()) return "undefined";
  if (value.is_none()) return "none";
  if (value.is<bool>()) return "boolean";
  if (value.is<int64_t>()) return "integer";
  if (value.is<double>()) return "float";
  if (value.is_text()) return "string";
  if (value.is<Mapping*>()) return "mapping";
  if (value.is<Namespace*>()) return "namespace";
  if (value.is<Loop*>()) return "loop";
  if (value.is<Function*>()) return "function";
  switch (value.get<Sequence*>()->kind) {
    case Sequence::Kind::kList:
      return "list";
    case Sequence::Kind::kTuple:
      return "tuple";
    case Sequence::Kind::kRange:
      return "range";
    case Sequence::Kind::kGenerator:
      return "generator";
    default:
      return "view of a mapping";
  }
}

bool truth(const Value& value) {
  if (value.is_undefined() || value.is_none()) return false;
  if (value.is_integer()) return value.as_integer() != 0;
  if (value.is<double>()) return value.get<double>() != 0.0;
  if (value.is_text()) return !value.as_text().empty();
  if (value.is<Mapping*>()) return !value.get<Mapping*>()->items.empty();
  if (value.is<Sequence*>()) {
    const Sequence& sequence = *value.get<Sequence*>();
    return sequence.kind == Sequence::Kind::kGenerator || !sequence.items.empty();
  }
  if (value.is<Loop*>()) return !value.get<Loop*>()->items.empty();
  return true;
}

bool equal(Heap& heap, const Value& a, const Value& b, int depth) {
  require_shallow(depth);
  heap.spend(1);
  if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
  if (a.is_text() && b.is_text()) {
    heap.spend_bytes(a.as_text().size());
    return a.as_text() == b.as_text();
  }
  if (same_kind(a, b)) return equal_sequences(heap, *a.get<Sequence*>(), *b.get<Sequence*>(), depth);
  if (a.is<Mapping*>() && b.is<Mapping*>()) return equal_mappings(heap, *a.get<Mapping*>(), *b.get<Mapping*>(), depth);
  if (a.is_none() || b.is_none()) return a.is_none() && b.is_none();
  if (a.is<Sequence*>() && b.is<Sequence*>() && a.get<Sequence*>()->kind == b.get<Sequence*>()->kind) {
    if (a.get<Sequence*>()->kind == Sequence::Kind::kRange) return equal_sequences(heap, *a.get<Sequence*>(), *b.get<Sequence*>(), depth);
    return a.get<Sequence*>() == b.get<Sequence*>();
  }
  if (a.is<Namespace*>() && b.is<Namespace*>()) return a.get<Namespace*>() == b.get<Namespace*>();
  if (a.is<Loop*>() && b.is<Loop*>()) return a.get<Loop*>() == b.get<Loop*>();
  if (a.is<Function*>() && b.is<Function*>()) {
    const Function &f = *a.get<Function*>(), &g = *b.get<Function*>();
    if (f.is_method || g.is_method) throw Problem("methods cannot be compared");
    return f.macro == g.macro && f.name == g.name;
  }
  return false;
}

bool less(Heap& heap, const Value& a, const Value& b, int depth) {
  require_shallow(depth);
  heap.spend(1);
  if (a.is_undefined()) refuse_undefined(a);
  if (b.is_undefined()) refuse_undefined(b);
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == -1;
  if (a.is_text() && b.is_text()) {
    heap.spend_bytes(a.as_text().size());
    return a.as_text().text() < b.as_text().text();  // UTF-8 keeps the order of code points
  }
  if (same_kind(a, b)) {
    const auto &x = a.get<Sequence*>()->items, &y = b.get<Sequence*>()->items;
    for (size_t i = 0; i < x.size() && i < y.size(); ++i)
      if (!equal(heap, x[i], y[i], depth + 1)) return less(heap, x[i], y[i], depth + 1);
    return x.size() < y.size();
  }
  throw Problem("expected two numbers or two strings to compare, found " + type_name(a) + " and " + type_name(b));
}

bool contains(Heap& heap, const Value& container, const Value& item) {
  if (container.is_text()) {
    if (!item.is_text()) throw Problem("in: expected a string to look for in a string, found " + type_name(item));
    heap.spend(1 + uint64_t{container.as_text().size()} * (8 + item.as_text().size()) / 64);
    return container.as_text().text().find(item.as_text().text()) != std::string::npos;
  }
  if (container.is<Mapping*>()) {
    const Mapping& mapping = *container.get<Mapping*>();
    heap.spend(mapping.cost_of_finding(item));
    if (item.is<Mapping*>() || item.is<Sequence*>()) throw Problem("in: expected a string or a number as key, found " + type_name(item));
    return mapping.find(item) != nullptr;
  }
  if (container.is<Sequence*>() && container.get<Sequence*>()->kind == Sequence::Kind::kGenerator)
    throw Problem("in: expected a list, found a generator; put |list behind it");
  for (const Value& candidate : iterate(heap, container))
    if (equal(heap, candidate, item)) return true;
  return false;
}

std::vector<Value> iterate(Heap& heap, const Value& value) {
  std::vector<Value> items;
  if (value.is_undefined()) return items;
  if (value.is<Sequence*>()) {
    Sequence& sequence = *value.get<Sequence*>();
    items.assign(sequence.items.begin() + static_cast<std::ptrdiff_t>(sequence.consumed), sequence.items.end());
    if (sequence.kind == Sequence::Kind::kGenerator) sequence.consumed = sequence.items.size();
  } else if (value.is<Mapping*>()) {
    for (const auto& item : value.get<Mapping*>()->items) items.push_back(item.first);
  } else if (value.is_text()) {
    heap.spend(2 * value.as_text().size());
    const std::vector<size_t> at = character_offsets(value.as_text().text());
    for (size_t i = 0; i + 1 < at.size(); ++i) items.push_back(Value::text(value.as_text().cut(at[i], at[i + 1])));
  } else {
    throw Problem("expected something to walk through, found " + type_name(value));
  }
  heap.spend(1 + items.size());
  return items;
}

int64_t length(const Value& value) {
  if (value.is_undefined()) return 0;
  if (value.is_text()) return static_cast<int64_t>(character_count(value.as_text().text()));
  if (value.is<Mapping*>()) return static_cast<int64_t>(value.get<Mapping*>()->items.size());
  if (value.is<Loop*>()) return static_cast<int64_t>(value.get<Loop*>()->items.size());
  if (value.is<Sequence*>() && value.get<Sequence*>()->kind != Sequence::Kind::kGenerator)
    return static_cast<int64_t>(value.get<Sequence*>()->items.size());
  throw Problem("length: expected a string, a list or a mapping, found " + type_name(value));
}

// ---- Looking things up --------------------------------------------------------------------------------------------------------------

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

// ---- Arithmetic ---------------------------------------------------------------------------------------------------------------------

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
