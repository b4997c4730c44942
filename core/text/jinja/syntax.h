#pragma once
/// The syntax tree of a template.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/text/jinja/value.h"

namespace cohort::text::jinja {

struct Expression {
  enum class Kind {
    kConstant,     ///< constant
    kBlockText,    ///< what a block set has written, for its filters
    kName,         ///< name
    kList,         ///< parts
    kTuple,        ///< parts
    kMapping,      ///< key, value, key, value, …
    kAttribute,    ///< object; name
    kItem,         ///< object, key
    kSlice,        ///< object, begin, end, step; null where left out
    kCall,         ///< callee, positional arguments …; named
    kFilter,       ///< input, positional arguments …; name, named
    kTest,         ///< input, positional arguments …; name, named
    kNot,          ///< operand
    kNegative,     ///< operand
    kPositive,     ///< operand
    kAnd,          ///< left, right
    kOr,           ///< left, right
    kArithmetic,   ///< left, right; name is the operator
    kConcat,       ///< parts
    kCompare,      ///< first, second, …; operators between them
    kConditional,  ///< condition, value, otherwise; the last is null where left out
  };
  Kind kind;
  int line = 1;
  int depth = 1;  ///< of the tree below
  std::string name;
  Value constant;
  std::vector<std::unique_ptr<Expression>> parts;
  std::vector<std::pair<std::string, std::unique_ptr<Expression>>> named;
  std::vector<std::string> operators;
};
using ExpressionPtr = std::unique_ptr<Expression>;

/// What set and for assign to: a name, an attribute of a namespace, or several of these.
struct Target {
  std::string name = {};
  std::string attribute = {};
  std::vector<Target> parts = {};
};

struct Statement;
using Body = std::vector<Statement>;

struct Statement {
  enum class Kind {
    kText,        ///< text
    kOutput,      ///< value
    kIf,          ///< branches in turn; a branch without condition is the else
    kFor,         ///< targets[0], value is what is walked, condition filters; body, otherwise
    kSet,         ///< targets[0], value
    kSetBlock,    ///< targets[0], body; value are the filters or null
    kWith,        ///< targets with values; body
    kMacro,       ///< text is the name; targets the parameters with their default values or null; body
    kGeneration,  ///< body: what the assistant says
    kBreak,
    kContinue,
  };
  struct Branch {
    ExpressionPtr condition;
    Body body;
  };
  Kind kind;
  int line = 1;
  std::string text = {};
  ExpressionPtr value = {};
  ExpressionPtr condition = {};
  std::vector<Branch> branches = {};
  std::vector<Target> targets = {};
  std::vector<ExpressionPtr> values = {};
  Body body = {};
  Body otherwise = {};
};

}  // namespace cohort::text::jinja
