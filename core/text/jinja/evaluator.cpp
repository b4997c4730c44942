#include "core/text/jinja/evaluator.h"

#include <algorithm>
#include <utility>

#include "core/base/text_util.h"
#include "core/text/jinja/access.h"
#include "core/text/jinja/arithmetic.h"
#include "core/text/jinja/comparison.h"
#include "core/text/jinja/value_text.h"

namespace cohort::text::jinja {
namespace {

using Kind = Expression::Kind;

/// Takes a value back at the end of a block.
template <class T>
class Restored {
 public:
  Restored(T& place, T value) : place_(place), before_(std::exchange(place, std::move(value))) {}
  ~Restored() { place_ = std::move(before_); }
  Restored(const Restored&) = delete;
  Restored& operator=(const Restored&) = delete;

 private:
  T& place_;
  T before_;
};

bool is_global(std::string_view name) {
  static constexpr std::string_view kNames[] = {"range", "dict", "namespace", "raise_exception", "strftime_now"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

}  // namespace

Evaluator::Evaluator(Heap& heap, const std::tm& today) : heap_(heap), today_(today), globals_(heap.scope(nullptr)), scope_(globals_) {}

MarkedText Evaluator::run(const Body& body) {
  MarkedText out;
  execute(body, out);
  return out;
}

// ---- Statements ---------------------------------------------------------------------------------------------------------------------

Evaluator::Flow Evaluator::execute(const Body& body, MarkedText& out) {
  for (const Statement& statement : body) {
    line_ = statement.line;
    heap_.spend(1);
    const Flow flow = execute(statement, out);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Evaluator::Flow Evaluator::execute(const Statement& s, MarkedText& out) {
  switch (s.kind) {
    case Statement::Kind::kText:
      write(out, MarkedText::own(s.text));
      break;
    case Statement::Kind::kOutput:
      write_output(out, *s.value);
      break;
    case Statement::Kind::kIf:
      return execute_if(s, out);
    case Statement::Kind::kFor:
      return execute_for(s, out);
    case Statement::Kind::kSet:
      assign(s.targets[0], evaluate(*s.value));
      break;
    case Statement::Kind::kSetBlock:
      execute_set_block(s);
      break;
    case Statement::Kind::kWith:
      return execute_with(s, out);
    case Statement::Kind::kMacro:
      scope_->set(s.text, heap_.function({.name = s.text, .macro = &s, .scope = scope_}));
      break;
    case Statement::Kind::kGeneration:
      execute_scoped(s.body, out);
      break;
    case Statement::Kind::kBreak:
      return Flow::kBreak;
    case Statement::Kind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

void Evaluator::write(MarkedText& out, const MarkedText& text) {
  heap_.spend_bytes(text.size());
  if (out.size() + text.size() > kMaxTextBytes)
    throw Problem("expected at most " + std::to_string(kMaxTextBytes) + " bytes of output, found more");
  out.append(text);
}

/// Whether text is safe in HTML makes no difference where it is only written.
void Evaluator::write_output(MarkedText& out, const Expression& expression) {
  const bool safe = expression.kind == Kind::kFilter && expression.name == "safe" && expression.parts.size() == 1;
  const Expression& inner = safe ? *expression.parts[0] : expression;
  const Value value = evaluate(inner);
  write(out, value.is_text() ? value.as_text() : to_text(heap_, value));
}

Evaluator::Flow Evaluator::execute_if(const Statement& s, MarkedText& out) {
  for (const Statement::Branch& branch : s.branches)
    if (branch.condition == nullptr || truth(evaluate(*branch.condition))) return execute(branch.body, out);
  return Flow::kNext;
}

/// What the loop walks, after its inline if.
std::vector<Value> Evaluator::items_of(const Statement& s) {
  std::vector<Value> items = iterate(heap_, evaluate(*s.value));
  if (s.condition == nullptr) return items;
  std::vector<Value> kept;
  for (Value& item : items) {
    const Restored<Scope*> scope(scope_, heap_.scope(scope_));
    assign(s.targets[0], item);
    if (truth(evaluate(*s.condition))) kept.push_back(std::move(item));
  }
  return kept;
}

Evaluator::Flow Evaluator::execute_for(const Statement& s, MarkedText& out) {
  const Value loop = heap_.loop(items_of(s), loops_ + 1);
  Loop& state = *loop.get<Loop*>();
  bool finished_one = false;  // Jinja2 takes the else also when every iteration was left early
  for (state.index = 0; state.index < state.items.size(); ++state.index) {
    heap_.spend(1);
    const Restored<Scope*> scope(scope_, heap_.scope(scope_));
    scope_->set("loop", loop);
    assign(s.targets[0], state.items[state.index]);
    const Flow flow = execute(s.body, out);
    finished_one = finished_one || flow == Flow::kNext;
    if (flow == Flow::kBreak) break;
  }
  if (!finished_one) execute_scoped(s.otherwise, out);
  return Flow::kNext;
}

/// Names that are set inside are not seen outside.
void Evaluator::execute_scoped(const Body& body, MarkedText& out) {
  const Restored<Scope*> scope(scope_, heap_.scope(scope_));
  execute(body, out);
}

Evaluator::Flow Evaluator::execute_with(const Statement& s, MarkedText& out) {
  Scope* inner = heap_.scope(scope_);
  for (size_t i = 0; i < s.targets.size(); ++i) {
    const Value value = evaluate(*s.values[i]);
    const Restored<Scope*> scope(scope_, inner);
    assign(s.targets[i], value);
  }
  const Restored<Scope*> scope(scope_, inner);
  return execute(s.body, out);
}

void Evaluator::execute_set_block(const Statement& s) {
  MarkedText text;
  execute_scoped(s.body, text);
  Value value = Value::text(std::move(text));
  if (s.value != nullptr) {
    const Restored<Value> block_text(block_text_, value);
    value = evaluate(*s.value);
  }
  assign(s.targets[0], value);
}

void Evaluator::assign(const Target& target, const Value& value) {
  if (!target.parts.empty()) {
    const std::vector<Value> items = iterate(heap_, value);
    if (items.size() != target.parts.size())
      throw Problem("expected " + std::to_string(target.parts.size()) + " values to assign, found " + std::to_string(items.size()));
    for (size_t i = 0; i < items.size(); ++i) assign(target.parts[i], items[i]);
    return;
  }
  heap_.spend(3);
  if (target.attribute.empty()) return scope_->set(target.name, value);
  const Value* known = scope_->find(target.name);
  if (known == nullptr || !known->is<Namespace*>())
    throw Problem("expected a namespace to assign to, found none under the name " + target.name);
  if (target.attribute.starts_with("_")) throw Problem("a namespace takes no attribute that begins with _");
  known->get<Namespace*>()->attributes.insert_or_assign(target.attribute, value);
}

// ---- Expressions --------------------------------------------------------------------------------------------------------------------

Value Evaluator::evaluate(const Expression& e) {
  const Restored<int> depth(depth_, depth_ + 1);
  if (depth_ > kMaxEvaluationDepth)
    throw Problem("expected calls and operations nested up to " + std::to_string(kMaxEvaluationDepth) + " levels");
  heap_.spend(1);
  line_ = e.line;
  return evaluate_by_kind(e);
}

Value Evaluator::evaluate_by_kind(const Expression& e) {
  switch (e.kind) {
    case Kind::kConstant:
      return e.constant;
    case Kind::kBlockText:
      return block_text_;
    case Kind::kName:
      return evaluate_name(e);
    case Kind::kList:
      return heap_.list(evaluate_parts(e));
    case Kind::kTuple:
      return heap_.tuple(evaluate_parts(e));
    case Kind::kMapping:
      return evaluate_mapping(e);
    case Kind::kAttribute:
      return get_attribute(heap_, evaluate(*e.parts[0]), e.name);
    case Kind::kItem: {
      const Value object = evaluate(*e.parts[0]);
      return get_item(heap_, object, evaluate(*e.parts[1]));
    }
    case Kind::kSlice:
      return evaluate_slice(e);
    case Kind::kCall: {
      const Value callee = evaluate(*e.parts[0]);
      const Arguments arguments = evaluate_arguments(e);
      line_ = e.line;
      return call(callee, arguments);
    }
    case Kind::kFilter: {
      const Value input = evaluate(*e.parts[0]);
      const Arguments arguments = evaluate_arguments(e);
      line_ = e.line;
      return apply_filter(e.name, input, arguments);
    }
    case Kind::kTest: {
      const Value input = evaluate(*e.parts[0]);
      return Value::boolean(apply_test(e.name, input, evaluate_arguments(e)));
    }
    case Kind::kNot:
      return Value::boolean(!truth(evaluate(*e.parts[0])));
    case Kind::kNegative:
      return negative(evaluate(*e.parts[0]));
    case Kind::kPositive:
      return negative(negative(evaluate(*e.parts[0])));
    case Kind::kAnd: {
      Value left = evaluate(*e.parts[0]);
      return truth(left) ? evaluate(*e.parts[1]) : left;
    }
    case Kind::kOr: {
      Value left = evaluate(*e.parts[0]);
      return truth(left) ? left : evaluate(*e.parts[1]);
    }
    case Kind::kArithmetic: {
      const Value left = evaluate(*e.parts[0]);
      const Value right = evaluate(*e.parts[1]);
      line_ = e.line;
      return arithmetic(heap_, e.name, left, right);
    }
    case Kind::kConcat:
      return evaluate_concat(e);
    case Kind::kCompare:
      return evaluate_compare(e);
    case Kind::kConditional:
      if (truth(evaluate(*e.parts[0]))) return evaluate(*e.parts[1]);
      return e.parts[2] != nullptr ? evaluate(*e.parts[2]) : Value::undefined("the inline if has no else");
  }
  throw Problem("unknown expression");
}

Value Evaluator::evaluate_name(const Expression& e) {
  if (const Value* value = scope_->find(e.name)) return *value;
  if (is_global(e.name)) return heap_.function({.name = e.name});
  if (e.name == "lipsum" || e.name == "cycler" || e.name == "joiner") throw Problem("the function " + e.name + " is not supported");
  return Value::undefined("expected the name " + printable(e.name) + " to be defined");
}

std::vector<Value> Evaluator::evaluate_parts(const Expression& e, size_t from) {
  std::vector<Value> values;
  for (size_t i = from; i < e.parts.size(); ++i) values.push_back(evaluate(*e.parts[i]));
  return values;
}

Arguments Evaluator::evaluate_arguments(const Expression& e) {
  Arguments arguments;
  arguments.positional = evaluate_parts(e, 1);
  for (const auto& [name, value] : e.named) arguments.named.emplace_back(name, evaluate(*value));
  return arguments;
}

Value Evaluator::evaluate_mapping(const Expression& e) {
  Value mapping = heap_.mapping();
  for (size_t i = 0; i < e.parts.size(); i += 2) {
    Value key = evaluate(*e.parts[i]);
    heap_.spend(mapping.get<Mapping*>()->cost_of_finding(key));
    mapping.get<Mapping*>()->set(std::move(key), evaluate(*e.parts[i + 1]));
  }
  return mapping;
}

Value Evaluator::evaluate_concat(const Expression& e) {
  MarkedText text;
  for (const ExpressionPtr& part : e.parts) write(text, to_text(heap_, evaluate(*part)));
  return Value::text(std::move(text));
}

Value Evaluator::evaluate_slice(const Expression& e) {
  const Value object = evaluate(*e.parts[0]);
  Value bounds[3];
  for (size_t i = 0; i < 3; ++i)
    if (e.parts[i + 1] != nullptr) bounds[i] = evaluate(*e.parts[i + 1]);
  return get_slice(heap_, object, bounds[0], bounds[1], bounds[2]);
}

/// a < b < c holds when both do, as in Python.
Value Evaluator::evaluate_compare(const Expression& e) {
  Value left = evaluate(*e.parts[0]);
  for (size_t i = 0; i < e.operators.size(); ++i) {
    Value right = evaluate(*e.parts[i + 1]);
    line_ = e.line;
    if (!compare(e.operators[i], left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

bool Evaluator::compare(const std::string& operation, const Value& a, const Value& b) {
  if (operation == "==") return equal(heap_, a, b);
  if (operation == "!=") return !equal(heap_, a, b);
  if (operation == "in") return contains(heap_, b, a);
  if (operation == "not in") return !contains(heap_, b, a);
  if (operation == "<") return less(heap_, a, b);
  if (operation == ">") return less(heap_, b, a);
  const bool reversed = operation == ">=";
  return less(heap_, reversed ? b : a, reversed ? a : b) || equal(heap_, a, b);
}

// ---- Calls --------------------------------------------------------------------------------------------------------------------------

Value Evaluator::call(const Value& callee, const Arguments& arguments) {
  if (callee.is_undefined()) throw Problem(*callee.get<Undefined>().what);
  if (!callee.is<Function*>()) throw Problem("expected something to call, found " + type_name(callee));
  const Function& function = *callee.get<Function*>();
  if (function.is_method) return call_method(heap_, function, arguments);
  if (function.macro != nullptr) return call_macro(function, arguments);
  return call_global(function.name, arguments);
}

Value Evaluator::call_macro(const Function& macro, const Arguments& arguments) {
  const Statement& s = *macro.macro;
  if (arguments.positional.size() > s.targets.size())
    throw Problem("macro " + macro.name + ": expected at most " + std::to_string(s.targets.size()) + " arguments, found " +
                  std::to_string(arguments.positional.size()));
  heap_.spend((1 + s.targets.size()) * (4 + arguments.named.size()));  // a name in a scope costs more than a step
  const Restored<int> depth(depth_, depth_ + 1);
  const Restored<Scope*> scope(scope_, heap_.scope(macro.scope));
  for (const auto& [name, value] : arguments.named) {
    const auto known = std::find_if(s.targets.begin(), s.targets.end(), [&](const Target& t) { return t.name == name; });
    const auto index = static_cast<size_t>(known - s.targets.begin());
    if (known == s.targets.end() || index < arguments.positional.size())
      throw Problem("macro " + macro.name + ": unexpected argument " + name);
    scope_->set(name, value);
  }
  for (size_t i = 0; i < s.targets.size(); ++i) {
    const std::string& name = s.targets[i].name;
    if (i < arguments.positional.size()) {
      scope_->set(name, arguments.positional[i]);
    } else if (std::none_of(arguments.named.begin(), arguments.named.end(), [&](const auto& a) { return a.first == name; })) {
      scope_->set(name, s.values[i] != nullptr ? evaluate(*s.values[i])
                                               : Value::undefined("expected the argument " + name + " of the macro " + macro.name));
    }
  }
  if (depth_ > kMaxEvaluationDepth / 4 * 3) throw Problem("expected macros that do not call one another so deeply");
  MarkedText out;
  execute(s.body, out);
  return Value::text(std::move(out));
}

namespace {

Value make_range(Heap& heap, const Arguments& arguments) {
  constexpr int64_t kMaxRange = 100'000;  // the sandbox of Jinja2 has the same
  const auto bound = bind("range", arguments, {"start", "stop", "step"}, 1);
  for (const auto& value : bound)
    if (value && !value->is_integer()) throw Problem("range: expected integers, found " + type_name(*value));
  const int64_t start = bound[1] ? bound[0]->as_integer() : 0, stop = bound[1] ? bound[1]->as_integer() : bound[0]->as_integer();
  const int64_t step = bound[2] ? bound[2]->as_integer() : 1;
  if (step == 0) throw Problem("range: expected a step other than 0");
  constexpr int64_t kFar = int64_t{1} << 60;
  if (std::min({start, stop, step}) < -kFar || std::max({start, stop, step}) > kFar) throw Problem("range: expected smaller numbers");
  std::vector<Value> items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop; i += step) {
    if (static_cast<int64_t>(items.size()) == kMaxRange) throw Problem("range: expected at most 100000 numbers");
    items.push_back(Value::integer(i));
  }
  return heap.sequence(Sequence::Kind::kRange, std::move(items));
}

/// dict(mapping, a=1, …).
Value make_mapping(Heap& heap, const std::string& name, const Arguments& arguments) {
  Value result = heap.mapping();
  Mapping& mapping = *result.get<Mapping*>();
  if (arguments.positional.size() > 1) throw Problem(name + ": expected one mapping at most");
  if (!arguments.positional.empty()) {
    const Value& from = arguments.positional[0];
    if (!from.is<Mapping*>()) throw Problem(name + ": expected a mapping, found " + type_name(from));
    mapping.items = from.get<Mapping*>()->items;
    heap.spend(mapping.items.size());
  }
  for (const auto& [key, value] : arguments.named) {
    heap.spend(1 + mapping.items.size());
    mapping.set(Value::own_text(key), value);
  }
  return result;
}

Value make_namespace(Heap& heap, const Arguments& arguments) {
  const Value mapping = make_mapping(heap, "namespace", arguments);
  Value result = heap.name_space();
  for (const auto& [key, value] : mapping.get<Mapping*>()->items) {
    if (!key.is_text() || key.as_text().text().starts_with("_")) throw Problem("a namespace takes no attribute that begins with _");
    result.get<Namespace*>()->attributes.insert_or_assign(key.as_text().text(), value);
  }
  return result;
}

std::string format_date(const std::string& format, const std::tm& date) {
  constexpr size_t kLongest = 256;
  if (format.empty()) return {};
  if (format.size() > kLongest || format.find('\0') != std::string::npos) throw Problem("strftime_now: expected a short format");
  char text[64 * kLongest];
  const size_t size = std::strftime(text, sizeof text, format.c_str(), &date);
  return {text, size};
}

}  // namespace

Value Evaluator::call_global(const std::string& name, const Arguments& arguments) {
  if (name == "range") return make_range(heap_, arguments);
  if (name == "dict") return make_mapping(heap_, name, arguments);
  if (name == "namespace") return make_namespace(heap_, arguments);
  if (name == "raise_exception") {
    const auto bound = bind(name, arguments, {"message"}, 1);
    throw Problem("the template refuses the conversation: " + printable(to_text(heap_, *bound[0]).text(), 300));
  }
  const auto bound = bind(name, arguments, {"format"}, 1);
  if (!bound[0]->is_text()) throw Problem("strftime_now: expected a string, found " + type_name(*bound[0]));
  return Value::own_text(format_date(bound[0]->as_text().text(), today_));
}

std::vector<std::optional<Value>> bind(const std::string& callee, const Arguments& arguments, std::initializer_list<const char*> parameters,
                                       size_t required) {
  std::vector<std::optional<Value>> bound(parameters.size());
  if (arguments.positional.size() > bound.size())
    throw Problem(callee + ": expected at most " + std::to_string(bound.size()) + " arguments, found " +
                  std::to_string(arguments.positional.size()));
  for (size_t i = 0; i < arguments.positional.size(); ++i) bound[i] = arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto known = std::find(parameters.begin(), parameters.end(), name);
    if (known == parameters.end()) throw Problem(callee + ": the argument " + printable(name) + " is not supported");
    std::optional<Value>& place = bound[static_cast<size_t>(known - parameters.begin())];
    if (place) throw Problem(callee + ": expected the argument " + name + " once");
    place = value;
  }
  for (size_t i = 0; i < required; ++i)
    if (!bound[i]) throw Problem(callee + ": expected the argument " + std::string(parameters.begin()[i]));
  return bound;
}

}  // namespace cohort::text::jinja
