#pragma once
/// Values of a template, with the behaviour of the Python values that Jinja2 computes with. What is done with them: comparison.h, access.h,
/// arithmetic.h, value_text.h.
///
/// Containers belong to a Heap, which frees them together at the end of a rendering: templates can make cycles. Whatever goes wrong is a
/// Problem, which the evaluator turns into an InputError with the line.

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/text/jinja/bounds.h"
#include "core/text/marked_text.h"

namespace cohort::text::jinja {

class Value;
struct Expression;
struct Statement;

struct Undefined {
  std::shared_ptr<const std::string> what;  ///< "'x' is undefined"
};
struct None {};

struct Sequence {
  enum class Kind {
    kList,
    kTuple,
    kRange,      ///< of range(): as a list, but neither written nor added to
    kGenerator,  ///< what selectattr, map, … give: no length, no index, can be walked once
    kView,       ///< keys(), values(), items(): a length and no index
  };
  Kind kind = Kind::kList;
  std::vector<Value> items;
  size_t consumed = 0;  ///< of a generator
};

struct Mapping {
  std::vector<std::pair<Value, Value>> items;  ///< in order of insertion, keys distinct
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  void set(Value key, Value value);
  uint64_t cost_of_finding(const Value& key) const;  ///< in steps (Heap::spend): texts of the same length are compared
};

struct Namespace {
  std::map<std::string, Value, std::less<>> attributes;
};

/// `loop` inside a for.
struct Loop {
  std::vector<Value> items;
  size_t index = 0;
  int depth = 1;
};

struct Scope {
  Scope* parent = nullptr;
  std::map<std::string, Value, std::less<>> names;
  void set(const std::string& name, Value value);
  const Value* find(std::string_view name) const;  ///< here or further out
};

/// Something to call: a global function, a method of `self`, or a macro.
struct Function;

class Value {
 public:
  using Text = std::shared_ptr<const MarkedText>;
  using Variant = std::variant<Undefined, None, bool, int64_t, double, Text, Sequence*, Mapping*, Namespace*, Loop*, Function*>;

  Value() : data_(None{}) {}
  Value(Variant data) : data_(std::move(data)) {}  // NOLINT: a value of any of these kinds
  static Value undefined(std::string what) { return Variant(Undefined{std::make_shared<const std::string>(std::move(what))}); }
  static Value text(MarkedText text) { return Variant(std::make_shared<const MarkedText>(std::move(text))); }
  static Value own_text(std::string_view text) { return Value::text(MarkedText::own(text)); }
  static Value boolean(bool b) { return Variant(b); }
  static Value integer(int64_t i) { return Variant(i); }

  template <class T>
  bool is() const {
    return std::holds_alternative<T>(data_);
  }
  template <class T>
  const T& get() const {
    return std::get<T>(data_);
  }
  bool is_undefined() const { return is<Undefined>(); }
  bool is_none() const { return is<None>(); }
  bool is_text() const { return is<Text>(); }
  bool is_number() const { return is<bool>() || is<int64_t>() || is<double>(); }  ///< a bool is one in Python
  bool is_integer() const { return is<bool>() || is<int64_t>(); }
  const MarkedText& as_text() const { return *get<Text>(); }
  int64_t as_integer() const { return is<bool>() ? static_cast<int64_t>(get<bool>()) : get<int64_t>(); }
  double as_double() const { return is<double>() ? get<double>() : static_cast<double>(as_integer()); }

 private:
  Variant data_;
};

struct Function {
  std::string name;
  Value self = {};  ///< of a method
  bool is_method = false;
  const Statement* macro = nullptr;  ///< of a macro
  Scope* scope = nullptr;            ///< where the macro was defined
};

/// Positional and named arguments of a call.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

/// Owns what a rendering makes and counts what it does. spend() throws a Problem once too much was done.
class Heap {
 public:
  Heap();
  ~Heap();
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  void spend(uint64_t steps);
  void spend_bytes(size_t bytes) { spend(1 + bytes / 8); }

  Value sequence(Sequence::Kind kind, std::vector<Value> items);
  Value list(std::vector<Value> items) { return sequence(Sequence::Kind::kList, std::move(items)); }
  Value tuple(std::vector<Value> items) { return sequence(Sequence::Kind::kTuple, std::move(items)); }
  Value generator(std::vector<Value> items) { return sequence(Sequence::Kind::kGenerator, std::move(items)); }
  Value mapping();
  Value name_space();
  Value loop(std::vector<Value> items, int depth);
  Value function(Function function);
  Scope* scope(Scope* parent);
  /// Foreign, in all its strings and keys.
  Value from_json(const nlohmann::ordered_json& json, int depth = 0);

 private:
  struct Storage;
  std::unique_ptr<Storage> storage_;
  uint64_t steps_ = 0;
};

/// "string", "list", "undefined", …: for messages.
std::string type_name(const Value& value);

bool truth(const Value& value);
bool is_list_like(const Value& value);           ///< a list or a tuple
bool same_kind(const Value& a, const Value& b);  ///< two lists or two tuples
bool is_indexed(const Value& value);             ///< a sequence with items by index
/// The items that a for walks; consumes a generator. Problem for what cannot be walked.
std::vector<Value> iterate(Heap& heap, const Value& value);
/// len(); Problem where there is none.
int64_t length(const Value& value);

/// The Problem of an operation that an undefined value does not have: what is undefined.
[[noreturn]] void refuse_undefined(const Value& value);
/// Problem when values are nested deeper than kMaxValueDepth.
void require_shallow(int depth);

}  // namespace cohort::text::jinja
