#include "core/text/jinja/parser.h"

#include <algorithm>

#include "core/base/text_util.h"
#include "core/text/jinja/lexer.h"

namespace cohort::text::jinja {
namespace {

using Kind = Expression::Kind;

/// What Jinja2 has, whether or not the interpreter has it too: other names are errors of the template even where they are not reached.
bool is_filter_of_jinja(std::string_view name) {
  static constexpr std::string_view kNames[] = {
      "abs",    "attr",       "batch",          "capitalize", "center",     "count",       "d",         "default",  "dictsort",
      "e",      "escape",     "filesizeformat", "first",      "float",      "forceescape", "format",    "groupby",  "indent",
      "int",    "items",      "join",           "last",       "length",     "list",        "lower",     "map",      "max",
      "min",    "pprint",     "random",         "reject",     "rejectattr", "replace",     "reverse",   "round",    "safe",
      "select", "selectattr", "slice",          "sort",       "string",     "striptags",   "sum",       "title",    "tojson",
      "trim",   "truncate",   "unique",         "upper",      "urlencode",  "urlize",      "wordcount", "wordwrap", "xmlattr"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

bool is_test_of_jinja(std::string_view name) {
  static constexpr std::string_view kNames[] = {
      "boolean", "callable", "defined",     "divisibleby", "eq",      "equalto",  "escaped", "even",     "false", "filter",    "float",
      "ge",      "gt",       "greaterthan", "in",          "integer", "iterable", "le",      "lessthan", "lower", "lt",        "mapping",
      "ne",      "none",     "number",      "odd",         "sameas",  "sequence", "string",  "test",     "true",  "undefined", "upper"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}
  Body run();

 private:
  // Tokens.
  const Token& current() const { return tokens_[position_]; }
  const Token& look() const { return tokens_[std::min(position_ + 1, tokens_.size() - 1)]; }
  Token next();
  bool skip_name(std::string_view name);
  bool skip_operator(std::string_view operation);
  void expect_operator(std::string_view operation);
  std::string expect_name();
  void expect_name(std::string_view name);
  void expect(Token::Kind kind, const char* what);
  [[noreturn]] void fail(const std::string& problem, int line) const;
  [[noreturn]] void fail_expected(const std::string& what) const;

  // Statements.
  Body parse_body(std::initializer_list<std::string_view> ends);
  void parse_tag(Body& body);
  Statement parse_statement();
  Statement parse_if(int line);
  Statement parse_for(int line);
  Statement parse_set(int line);
  Statement parse_with(int line);
  Statement parse_macro(int line);
  Statement parse_generation(int line);
  Statement parse_loop_control(int line, bool is_break);
  Target parse_target(bool allows_attribute);
  Target parse_one_target(bool allows_attribute);

  // Expressions, from the weakest operator to the strongest.
  ExpressionPtr parse_expression() { return parse_conditional(); }
  ExpressionPtr parse_tuple(bool with_conditional, bool in_parentheses);
  bool ends_tuple() const;
  ExpressionPtr parse_conditional();
  ExpressionPtr parse_or();
  ExpressionPtr parse_and();
  ExpressionPtr parse_not();
  ExpressionPtr parse_compare();
  ExpressionPtr parse_sum();
  ExpressionPtr parse_concat();
  ExpressionPtr parse_product();
  ExpressionPtr parse_power();
  ExpressionPtr parse_unary(bool with_filters);
  ExpressionPtr parse_primary();
  ExpressionPtr parse_name();
  ExpressionPtr parse_string();
  ExpressionPtr parse_list();
  ExpressionPtr parse_mapping();
  ExpressionPtr parse_postfix(ExpressionPtr node);
  ExpressionPtr parse_filters(ExpressionPtr node);
  ExpressionPtr parse_subscript(ExpressionPtr object);
  ExpressionPtr parse_call(ExpressionPtr callee);
  ExpressionPtr parse_filter(ExpressionPtr input);
  ExpressionPtr parse_test(ExpressionPtr input);
  void parse_arguments(Expression& call);
  std::string parse_dotted_name();

  ExpressionPtr make(Kind kind, int line, std::string name = {}) const;
  ExpressionPtr constant(Value value, int line) const;
  /// Adds a part, and refuses a tree that has become too deep to walk.
  void adopt(Expression& parent, ExpressionPtr part) const;
  ExpressionPtr join(Kind kind, ExpressionPtr left, ExpressionPtr right, std::string name = {}) const;

  /// Counts how deep blocks and brackets are nested.
  struct Nesting {
    Parser& parser;
    explicit Nesting(Parser& p) : parser(p) {
      if (++parser.nesting_ > kMaxNesting)
        parser.fail("expected blocks and brackets nested up to " + std::to_string(kMaxNesting) + " levels", parser.current().line);
    }
    ~Nesting() { --parser.nesting_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;
  };

  std::vector<Token> tokens_;
  size_t position_ = 0;
  int nesting_ = 0;
  int loops_ = 0;   // around this place, inside the same macro
  int macros_ = 0;  // around this place
};

// ---- Tokens -------------------------------------------------------------------------------------------------------------------------

void Parser::fail(const std::string& problem, int line) const { throw Problem("line " + std::to_string(line) + ": " + problem); }

void Parser::fail_expected(const std::string& what) const {
  const Token& token = current();
  const bool closes = token.kind == Token::Kind::kBlockEnd || token.kind == Token::Kind::kVariableEnd;
  const std::string found = token.kind == Token::Kind::kEnd ? "the end of the template"
                            : closes                        ? "the end of the tag"
                                                            : printable(token.text);
  fail("expected " + what + ", found " + found, token.line);
}

Token Parser::next() {
  if (current().kind == Token::Kind::kEnd) fail_expected("more");
  return tokens_[position_++];
}

bool Parser::skip_name(std::string_view name) {
  const bool here = current().is_name(name);
  if (here) ++position_;
  return here;
}

bool Parser::skip_operator(std::string_view operation) {
  const bool here = current().is_operator(operation);
  if (here) ++position_;
  return here;
}

void Parser::expect_operator(std::string_view operation) {
  if (!skip_operator(operation)) fail_expected(std::string(operation));
}

std::string Parser::expect_name() {
  if (current().kind != Token::Kind::kName) fail_expected("a name");
  return next().text;
}

void Parser::expect_name(std::string_view name) {
  if (!skip_name(name)) fail_expected(std::string(name));
}

void Parser::expect(Token::Kind kind, const char* what) {
  if (current().kind != kind) fail_expected(what);
  ++position_;
}

// ---- Statements ---------------------------------------------------------------------------------------------------------------------

Body Parser::run() { return parse_body({}); }

/// Statements up to a tag that begins with one of `ends`, whose name is then the current token. Without ends: the whole template.
Body Parser::parse_body(std::initializer_list<std::string_view> ends) {
  const Nesting nesting(*this);
  Body body;
  while (current().kind != Token::Kind::kEnd) {
    if (current().kind == Token::Kind::kBlockBegin && look().kind == Token::Kind::kName &&
        std::find(ends.begin(), ends.end(), look().text) != ends.end()) {
      ++position_;
      return body;
    }
    parse_tag(body);
  }
  if (ends.size() > 0) fail_expected(std::string(*(ends.end() - 1)));
  return body;
}

void Parser::parse_tag(Body& body) {
  const Token token = next();
  Statement statement = {.kind = Statement::Kind::kText, .line = token.line};
  if (token.kind == Token::Kind::kData) {
    statement.text = token.text;
  } else if (token.kind == Token::Kind::kVariableBegin) {
    statement.kind = Statement::Kind::kOutput;
    statement.value = parse_tuple(true, false);
    expect(Token::Kind::kVariableEnd, "}}");
  } else {
    statement = parse_statement();
    expect(Token::Kind::kBlockEnd, "%}");
  }
  body.push_back(std::move(statement));
}

/// Stops before the end of the (last) tag.
Statement Parser::parse_statement() {
  const int line = current().line;
  const std::string name = expect_name();
  if (name == "if") return parse_if(line);
  if (name == "for") return parse_for(line);
  if (name == "set") return parse_set(line);
  if (name == "with") return parse_with(line);
  if (name == "macro") return parse_macro(line);
  if (name == "generation") return parse_generation(line);
  if (name == "break" || name == "continue") return parse_loop_control(line, name == "break");
  fail("the statement " + printable(name) + " is not supported here", line);
}

Statement Parser::parse_if(int line) {
  Statement statement = {.kind = Statement::Kind::kIf, .line = line};
  bool has_condition = true;
  while (true) {
    ExpressionPtr condition = has_condition ? parse_tuple(false, false) : nullptr;
    expect(Token::Kind::kBlockEnd, "%}");
    Body body = has_condition ? parse_body({"elif", "else", "endif"}) : parse_body({"endif"});
    statement.branches.push_back({std::move(condition), std::move(body)});
    const std::string end = next().text;
    if (end == "endif") return statement;
    has_condition = end == "elif";
  }
}

Statement Parser::parse_for(int line) {
  Statement statement = {.kind = Statement::Kind::kFor, .line = line};
  statement.targets.push_back(parse_target(false));
  expect_name("in");
  statement.value = parse_tuple(false, false);
  if (skip_name("if")) statement.condition = parse_expression();
  if (current().is_name("recursive")) fail("recursive loops are not supported", line);
  expect(Token::Kind::kBlockEnd, "%}");
  ++loops_;
  statement.body = parse_body({"else", "endfor"});
  --loops_;
  if (next().text == "else") {
    expect(Token::Kind::kBlockEnd, "%}");
    statement.otherwise = parse_body({"endfor"});
    ++position_;
  }
  return statement;
}

Statement Parser::parse_set(int line) {
  Statement statement = {.kind = Statement::Kind::kSet, .line = line};
  statement.targets.push_back(parse_target(true));
  if (skip_operator("=")) {
    statement.value = parse_tuple(true, false);
    return statement;
  }
  statement.kind = Statement::Kind::kSetBlock;
  if (current().is_operator("|")) {
    statement.value = make(Kind::kBlockText, line);
    while (skip_operator("|")) statement.value = parse_filter(std::move(statement.value));
  }
  expect(Token::Kind::kBlockEnd, "%}");
  const int loops = loops_;
  loops_ = 0;
  statement.body = parse_body({"endset"});
  loops_ = loops;
  ++position_;
  return statement;
}

Statement Parser::parse_with(int line) {
  Statement statement = {.kind = Statement::Kind::kWith, .line = line};
  while (current().kind != Token::Kind::kBlockEnd) {
    if (!statement.targets.empty()) expect_operator(",");
    statement.targets.push_back(parse_one_target(false));
    expect_operator("=");
    statement.values.push_back(parse_expression());
  }
  ++position_;
  statement.body = parse_body({"endwith"});
  ++position_;
  return statement;
}

Statement Parser::parse_macro(int line) {
  Statement statement = {.kind = Statement::Kind::kMacro, .line = line};
  statement.text = expect_name();
  expect_operator("(");
  while (!current().is_operator(")")) {
    if (!statement.targets.empty()) expect_operator(",");
    statement.targets.push_back({.name = expect_name()});
    statement.values.push_back(skip_operator("=") ? parse_expression() : nullptr);
    if (statement.values.back() == nullptr && statement.values.size() > 1 && statement.values[statement.values.size() - 2] != nullptr)
      fail("expected a default value for the parameter behind one with a default value", line);
  }
  expect_operator(")");
  expect(Token::Kind::kBlockEnd, "%}");
  const int loops = loops_;
  loops_ = 0, ++macros_;
  statement.body = parse_body({"endmacro"});
  loops_ = loops, --macros_;
  ++position_;
  return statement;
}

Statement Parser::parse_generation(int line) {
  Statement statement = {.kind = Statement::Kind::kGeneration, .line = line};
  expect(Token::Kind::kBlockEnd, "%}");
  const int loops = loops_;
  loops_ = 0;
  statement.body = parse_body({"endgeneration"});
  loops_ = loops;
  ++position_;
  return statement;
}

Statement Parser::parse_loop_control(int line, bool is_break) {
  if (loops_ == 0) fail(std::string(is_break ? "break" : "continue") + ": expected a for around it, found none", line);
  return {.kind = is_break ? Statement::Kind::kBreak : Statement::Kind::kContinue, .line = line};
}

Target Parser::parse_target(bool allows_attribute) {
  Target target = parse_one_target(allows_attribute);
  if (!current().is_operator(",")) return target;
  Target all;
  all.parts.push_back(std::move(target));
  while (skip_operator(",") && (current().kind == Token::Kind::kName || current().is_operator("(")) && !current().is_name("in"))
    all.parts.push_back(parse_one_target(allows_attribute));
  return all;
}

Target Parser::parse_one_target(bool allows_attribute) {
  const Nesting nesting(*this);
  if (skip_operator("(")) {
    Target inner = parse_target(allows_attribute);
    expect_operator(")");
    return inner;
  }
  const int line = current().line;
  Target target = {.name = expect_name()};
  static constexpr std::string_view kReserved[] = {"true", "false", "none", "True", "False", "None", "loop"};
  if (std::find(std::begin(kReserved), std::end(kReserved), target.name) != std::end(kReserved))
    fail("expected a name to assign to, found " + target.name, line);
  if (allows_attribute && skip_operator(".")) target.attribute = expect_name();
  return target;
}

// ---- Expressions --------------------------------------------------------------------------------------------------------------------

ExpressionPtr Parser::make(Kind kind, int line, std::string name) const {
  auto node = std::make_unique<Expression>();
  node->kind = kind;
  node->line = line;
  node->name = std::move(name);
  return node;
}

ExpressionPtr Parser::constant(Value value, int line) const {
  ExpressionPtr node = make(Kind::kConstant, line);
  node->constant = std::move(value);
  return node;
}

void Parser::adopt(Expression& parent, ExpressionPtr part) const {
  if (part != nullptr) parent.depth = std::max(parent.depth, part->depth + 1);
  if (parent.depth > kMaxSyntaxDepth)
    fail("expected a simpler expression, found one of more than " + std::to_string(kMaxSyntaxDepth) + " operations in one another",
         parent.line);
  parent.parts.push_back(std::move(part));
}

ExpressionPtr Parser::join(Kind kind, ExpressionPtr left, ExpressionPtr right, std::string name) const {
  ExpressionPtr node = make(kind, left->line, std::move(name));
  adopt(*node, std::move(left));
  adopt(*node, std::move(right));
  return node;
}

bool Parser::ends_tuple() const {
  const Token& token = current();
  return token.kind == Token::Kind::kVariableEnd || token.kind == Token::Kind::kBlockEnd || token.is_operator(")");
}

/// One expression, or several with commas between them.
ExpressionPtr Parser::parse_tuple(bool with_conditional, bool in_parentheses) {
  const int line = current().line;
  std::vector<ExpressionPtr> items;
  bool is_tuple = false;
  while (!ends_tuple()) {
    items.push_back(with_conditional ? parse_expression() : parse_or());
    if (!skip_operator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !items.empty()) return std::move(items.front());
  if (!is_tuple && !in_parentheses) fail_expected("an expression");
  ExpressionPtr tuple = make(Kind::kTuple, line);
  for (ExpressionPtr& item : items) adopt(*tuple, std::move(item));
  return tuple;
}

ExpressionPtr Parser::parse_conditional() {
  const Nesting nesting(*this);
  ExpressionPtr value = parse_or();
  while (skip_name("if")) {
    ExpressionPtr node = make(Kind::kConditional, value->line);
    adopt(*node, parse_or());
    adopt(*node, std::move(value));
    adopt(*node, skip_name("else") ? parse_conditional() : nullptr);
    value = std::move(node);
  }
  return value;
}

ExpressionPtr Parser::parse_or() {
  ExpressionPtr left = parse_and();
  while (skip_name("or")) left = join(Kind::kOr, std::move(left), parse_and());
  return left;
}

ExpressionPtr Parser::parse_and() {
  ExpressionPtr left = parse_not();
  while (skip_name("and")) left = join(Kind::kAnd, std::move(left), parse_not());
  return left;
}

ExpressionPtr Parser::parse_not() {
  if (!current().is_name("not")) return parse_compare();
  const Nesting nesting(*this);
  ExpressionPtr node = make(Kind::kNot, next().line);
  adopt(*node, parse_not());
  return node;
}

ExpressionPtr Parser::parse_compare() {
  ExpressionPtr first = parse_sum();
  ExpressionPtr node;
  while (true) {
    static constexpr std::string_view kOperators[] = {"==", "!=", "<", "<=", ">", ">="};
    std::string operation;
    if (current().kind == Token::Kind::kOperator &&
        std::find(std::begin(kOperators), std::end(kOperators), current().text) != std::end(kOperators)) {
      operation = next().text;
    } else if (skip_name("in")) {
      operation = "in";
    } else if (current().is_name("not") && look().is_name("in")) {
      position_ += 2;
      operation = "not in";
    } else {
      return node == nullptr ? std::move(first) : std::move(node);
    }
    if (node == nullptr) {
      node = make(Kind::kCompare, first->line);
      adopt(*node, std::move(first));
    }
    node->operators.push_back(std::move(operation));
    adopt(*node, parse_sum());
  }
}

ExpressionPtr Parser::parse_sum() {
  ExpressionPtr left = parse_concat();
  while (current().is_operator("+") || current().is_operator("-")) {
    const std::string operation = next().text;
    left = join(Kind::kArithmetic, std::move(left), parse_concat(), operation);
  }
  return left;
}

ExpressionPtr Parser::parse_concat() {
  ExpressionPtr first = parse_product();
  if (!current().is_operator("~")) return first;
  ExpressionPtr node = make(Kind::kConcat, first->line);
  adopt(*node, std::move(first));
  while (skip_operator("~")) adopt(*node, parse_product());
  return node;
}

ExpressionPtr Parser::parse_product() {
  ExpressionPtr left = parse_power();
  while (current().is_operator("*") || current().is_operator("/") || current().is_operator("//") || current().is_operator("%")) {
    const std::string operation = next().text;
    left = join(Kind::kArithmetic, std::move(left), parse_power(), operation);
  }
  return left;
}

ExpressionPtr Parser::parse_power() {
  ExpressionPtr left = parse_unary(true);
  while (skip_operator("**")) left = join(Kind::kArithmetic, std::move(left), parse_unary(true), "**");
  return left;
}

ExpressionPtr Parser::parse_unary(bool with_filters) {
  const Nesting nesting(*this);
  ExpressionPtr node;
  if (current().is_operator("-") || current().is_operator("+")) {
    const Token sign = next();
    node = make(sign.text == "-" ? Kind::kNegative : Kind::kPositive, sign.line);
    adopt(*node, parse_unary(false));
  } else {
    node = parse_primary();
  }
  node = parse_postfix(std::move(node));
  return with_filters ? parse_filters(std::move(node)) : std::move(node);
}

ExpressionPtr Parser::parse_primary() {
  const Token& token = current();
  const int line = token.line;
  if (token.kind == Token::Kind::kName) return parse_name();
  if (token.kind == Token::Kind::kString) return parse_string();
  if (token.kind == Token::Kind::kInteger) return constant(Value::integer(next().integer), line);
  if (token.kind == Token::Kind::kFloat) return constant(Value(next().number), line);
  if (token.is_operator("[")) return parse_list();
  if (token.is_operator("{")) return parse_mapping();
  if (!skip_operator("(")) fail_expected("an expression");
  ExpressionPtr inner = parse_tuple(true, true);
  expect_operator(")");
  return inner;
}

ExpressionPtr Parser::parse_name() {
  const Token token = next();
  if (token.text == "true" || token.text == "True") return constant(Value::boolean(true), token.line);
  if (token.text == "false" || token.text == "False") return constant(Value::boolean(false), token.line);
  if (token.text == "none" || token.text == "None") return constant(Value(), token.line);
  const bool of_macros = token.text == "caller" || token.text == "varargs" || token.text == "kwargs";
  if (of_macros && macros_ > 0) fail(token.text + " in a macro is not supported", token.line);
  return make(Kind::kName, token.line, token.text);
}

/// Strings that follow one another are one.
ExpressionPtr Parser::parse_string() {
  const int line = current().line;
  std::string text;
  while (current().kind == Token::Kind::kString) text += next().text;
  return constant(Value::own_text(text), line);
}

ExpressionPtr Parser::parse_list() {
  ExpressionPtr list = make(Kind::kList, next().line);
  while (!current().is_operator("]")) {
    if (!list->parts.empty()) expect_operator(",");
    if (current().is_operator("]")) break;
    adopt(*list, parse_expression());
  }
  expect_operator("]");
  return list;
}

ExpressionPtr Parser::parse_mapping() {
  ExpressionPtr mapping = make(Kind::kMapping, next().line);
  while (!current().is_operator("}")) {
    if (!mapping->parts.empty()) expect_operator(",");
    if (current().is_operator("}")) break;
    adopt(*mapping, parse_expression());
    expect_operator(":");
    adopt(*mapping, parse_expression());
  }
  expect_operator("}");
  return mapping;
}

ExpressionPtr Parser::parse_postfix(ExpressionPtr node) {
  while (true) {
    if (current().is_operator(".") || current().is_operator("[")) {
      node = parse_subscript(std::move(node));
    } else if (current().is_operator("(")) {
      node = parse_call(std::move(node));
    } else {
      return node;
    }
  }
}

ExpressionPtr Parser::parse_filters(ExpressionPtr node) {
  while (true) {
    if (skip_operator("|")) {
      node = parse_filter(std::move(node));
    } else if (skip_name("is")) {
      node = parse_test(std::move(node));
    } else if (current().is_operator("(")) {
      node = parse_call(std::move(node));
    } else {
      return node;
    }
  }
}

ExpressionPtr Parser::parse_subscript(ExpressionPtr object) {
  const Token token = next();
  if (token.text == ".") {
    const Token member = next();
    if (member.kind == Token::Kind::kInteger)
      return join(Kind::kItem, std::move(object), constant(Value::integer(member.integer), member.line));
    if (member.kind != Token::Kind::kName) fail("expected a name behind the dot, found " + printable(member.text), member.line);
    ExpressionPtr node = make(Kind::kAttribute, token.line, member.text);
    adopt(*node, std::move(object));
    return node;
  }
  ExpressionPtr slice[3];
  int part = 0;
  if (!current().is_operator(":")) slice[0] = parse_expression();
  for (; part < 2 && skip_operator(":"); ++part)
    if (!current().is_operator(":") && !current().is_operator("]")) slice[part + 1] = parse_expression();
  if (current().is_operator(",")) fail("several keys in one subscript are not supported", token.line);
  expect_operator("]");
  if (part == 0) return join(Kind::kItem, std::move(object), std::move(slice[0]));
  ExpressionPtr node = make(Kind::kSlice, token.line);
  adopt(*node, std::move(object));
  for (ExpressionPtr& bound : slice) adopt(*node, std::move(bound));
  return node;
}

void Parser::parse_arguments(Expression& call) {
  expect_operator("(");
  for (bool first = true; !current().is_operator(")"); first = false) {
    if (!first) expect_operator(",");
    if (current().is_operator(")")) break;
    if (current().is_operator("*") || current().is_operator("**")) fail("* and ** before an argument are not supported", current().line);
    if (current().kind == Token::Kind::kName && look().is_operator("=")) {
      std::string name = next().text;
      ++position_;
      ExpressionPtr value = parse_expression();
      call.depth = std::max(call.depth, value->depth + 1);
      call.named.emplace_back(std::move(name), std::move(value));
    } else {
      if (!call.named.empty()) fail("expected the arguments without a name first", current().line);
      adopt(call, parse_expression());
    }
  }
  expect_operator(")");
  if (call.depth > kMaxSyntaxDepth) fail("expected a simpler expression", call.line);
}

ExpressionPtr Parser::parse_call(ExpressionPtr callee) {
  ExpressionPtr call = make(Kind::kCall, current().line);
  adopt(*call, std::move(callee));
  parse_arguments(*call);
  return call;
}

std::string Parser::parse_dotted_name() {
  std::string name = expect_name();
  while (skip_operator(".")) name += "." + expect_name();
  return name;
}

/// Behind the bar.
ExpressionPtr Parser::parse_filter(ExpressionPtr input) {
  ExpressionPtr filter = make(Kind::kFilter, current().line, parse_dotted_name());
  if (!is_filter_of_jinja(filter->name)) fail("expected a filter, found " + printable(filter->name), filter->line);
  adopt(*filter, std::move(input));
  if (current().is_operator("(")) parse_arguments(*filter);
  return filter;
}

/// Behind `is`.
ExpressionPtr Parser::parse_test(ExpressionPtr input) {
  const int line = current().line;
  const bool negated = skip_name("not");
  ExpressionPtr test = make(Kind::kTest, line, parse_dotted_name());
  if (!is_test_of_jinja(test->name)) fail("expected a test, found " + printable(test->name), line);
  adopt(*test, std::move(input));
  const Token& token = current();
  const bool is_name = token.kind == Token::Kind::kName && token.text != "else" && token.text != "or" && token.text != "and";
  const bool has_argument = is_name || token.kind == Token::Kind::kString || token.kind == Token::Kind::kInteger ||
                            token.kind == Token::Kind::kFloat || token.is_operator("[") || token.is_operator("{");
  if (token.is_operator("(")) {
    parse_arguments(*test);
  } else if (has_argument) {
    if (token.is_name("is")) fail("expected one test, found another behind it", token.line);
    adopt(*test, parse_postfix(parse_primary()));
  }
  if (!negated) return test;
  ExpressionPtr node = make(Kind::kNot, line);
  adopt(*node, std::move(test));
  return node;
}

}  // namespace

Body parse(std::string_view source) { return Parser(tokenize(source)).run(); }

}  // namespace cohort::text::jinja
