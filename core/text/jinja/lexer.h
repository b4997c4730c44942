#pragma once
/// The text of a template as tokens, with Jinja2's rules of white space: trim_blocks and lstrip_blocks are on, a single newline at the end
/// of the template does not count, {%- -%} strip.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cohort::text::jinja {

struct Token {
  enum class Kind {
    kData,           ///< text outside of tags
    kVariableBegin,  ///< {{
    kVariableEnd,
    kBlockBegin,  ///< {%
    kBlockEnd,
    kName,
    kString,
    kInteger,
    kFloat,
    kOperator,
    kEnd,
  };
  Kind kind = Kind::kEnd;
  int line = 1;
  std::string text = {};  ///< a string: its value
  int64_t integer = 0;
  double number = 0.0;

  bool is(Kind wanted, std::string_view value) const { return kind == wanted && text == value; }
  bool is_operator(std::string_view value) const { return is(Kind::kOperator, value); }
  bool is_name(std::string_view value) const { return is(Kind::kName, value); }
};

/// Line breaks as \n, and without the one at the end: what Jinja2 makes of a template first.
std::string normalise_newlines(std::string_view source);

/// Ends with kEnd. `source` is normalised. Problem, with its line, for what is no template.
std::vector<Token> tokenize(std::string_view source);

}  // namespace cohort::text::jinja
