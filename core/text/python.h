#pragma once
/// What Python says of texts and numbers: for the two that render chat templates, native code (chat/) and the interpreter (jinja/).

#include <cstddef>
#include <string>
#include <string_view>

namespace cohort::text {

/// str.isspace() of one character.
bool is_python_space(char32_t code);

/// Whether it is white space that stands at a position of a text. A byte that is not UTF-8 is none.
bool is_space_at(std::string_view text, size_t position);

/// Where a text begins and ends without white space around it: text.size() and 0 where there is nothing else.
size_t begin_without_space(std::string_view text);
size_t end_without_space(std::string_view text);

/// str.strip().
std::string_view python_strip(std::string_view text);

/// repr() of a float: the shortest digits that give the number again.
std::string python_float(double number);

}  // namespace cohort::text
