#pragma once
/// Sums of numbers, strings and lists.

#include <string_view>

#include "core/text/jinja/value.h"

namespace cohort::text::jinja {

/// The operators + - * / // % **, and unary minus. Problem for integers over 64 bits and for operands that do not go together.
Value arithmetic(Heap& heap, std::string_view operation, const Value& a, const Value& b);
Value negative(const Value& value);

}  // namespace cohort::text::jinja
