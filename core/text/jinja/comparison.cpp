#include "core/text/jinja/comparison.h"

namespace cohort::text::jinja {
namespace {

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

}  // namespace

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

}  // namespace cohort::text::jinja
