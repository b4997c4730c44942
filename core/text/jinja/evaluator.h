#pragma once
/// Runs a parsed template.

#include <ctime>
#include <optional>
#include <string>

#include "core/text/jinja/syntax.h"

namespace cohort::text::jinja {

/// Filters and tests that call others of their kind (map, selectattr) and functions that call back go through this.
class Evaluator {
 public:
  /// `today`: what strftime_now writes.
  Evaluator(Heap& heap, const std::tm& today);

  /// Names that the template sees.
  void define(const std::string& name, Value value) { globals_->set(name, std::move(value)); }
  MarkedText run(const Body& body);
  int line() const { return line_; }  ///< that was reached

  Heap& heap() { return heap_; }
  /// filters.cpp. Problem for one that is not known.
  Value apply_filter(const std::string& name, const Value& input, const Arguments& arguments);
  /// tests.cpp.
  bool apply_test(const std::string& name, const Value& input, const Arguments& arguments);

 private:
  enum class Flow { kNext, kBreak, kContinue };

  // Statements.
  Flow execute(const Body& body, MarkedText& out);
  Flow execute(const Statement& statement, MarkedText& out);
  Flow execute_if(const Statement& statement, MarkedText& out);
  Flow execute_for(const Statement& statement, MarkedText& out);
  Flow execute_with(const Statement& statement, MarkedText& out);
  void execute_scoped(const Body& body, MarkedText& out);
  void execute_set_block(const Statement& statement);
  void assign(const Target& target, const Value& value);
  void write(MarkedText& out, const MarkedText& text);
  void write_output(MarkedText& out, const Expression& expression);
  std::vector<Value> items_of(const Statement& loop);

  // Expressions.
  Value evaluate(const Expression& e);
  Value evaluate_by_kind(const Expression& e);
  Value evaluate_name(const Expression& e);
  Value evaluate_mapping(const Expression& e);
  Value evaluate_concat(const Expression& e);
  Value evaluate_compare(const Expression& e);
  bool compare(const std::string& operation, const Value& a, const Value& b);
  Value evaluate_slice(const Expression& e);
  std::vector<Value> evaluate_parts(const Expression& e, size_t from = 0);
  Arguments evaluate_arguments(const Expression& e);
  Value call(const Value& callee, const Arguments& arguments);
  Value call_macro(const Function& macro, const Arguments& arguments);
  Value call_global(const std::string& name, const Arguments& arguments);

  Heap& heap_;
  std::tm today_;
  Scope* globals_;
  Scope* scope_;
  Value block_text_;
  int line_ = 1;
  int depth_ = 0;
  int loops_ = 0;
};

/// methods.cpp: a method of a string, a mapping or a list; those of `loop` too.
Value call_method(Heap& heap, const Function& method, const Arguments& arguments);

/// Arguments by the names of the parameters, in their order; none where one was left out. Problem when there are too many or unknown ones,
/// or less than `required`.
std::vector<std::optional<Value>> bind(const std::string& callee, const Arguments& arguments, std::initializer_list<const char*> parameters,
                                       size_t required = 0);

}  // namespace cohort::text::jinja
