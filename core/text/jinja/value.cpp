#include "core/text/jinja/value.h"

#include <deque>
#include <nlohmann/json.hpp>

#include "core/text/jinja/comparison.h"
#include "core/text/jinja/python_text.h"

namespace cohort::text::jinja {
namespace {

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

bool is_list_like(const Value& value) {
  return value.is<Sequence*>() &&
         (value.get<Sequence*>()->kind == Sequence::Kind::kList || value.get<Sequence*>()->kind == Sequence::Kind::kTuple);
}

bool same_kind(const Value& a, const Value& b) {
  return is_list_like(a) && is_list_like(b) && a.get<Sequence*>()->kind == b.get<Sequence*>()->kind;
}

bool is_indexed(const Value& value) {
  return is_list_like(value) || (value.is<Sequence*>() && value.get<Sequence*>()->kind == Sequence::Kind::kRange);
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

void refuse_undefined(const Value& value) { throw Problem(*value.get<Undefined>().what); }

void require_shallow(int depth) {
  if (depth > kMaxValueDepth) throw Problem("expected values nested up to " + std::to_string(kMaxValueDepth) + " levels, found more");
}

}  // namespace cohort::text::jinja
