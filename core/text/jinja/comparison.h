#pragma once
/// == < and in, as Python has them.

#include "core/text/jinja/value.h"

namespace cohort::text::jinja {

/// -1, 0, 1 of two numbers, exactly; NaN equals nothing and is less than nothing.
int compare_numbers(const Value& a, const Value& b);
bool equal(Heap& heap, const Value& a, const Value& b, int depth = 0);
/// a < b; Problem where Python has no order between them.
bool less(Heap& heap, const Value& a, const Value& b, int depth = 0);
bool contains(Heap& heap, const Value& container, const Value& item);

}  // namespace cohort::text::jinja
