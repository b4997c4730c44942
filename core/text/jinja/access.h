#pragma once
/// What stands behind a dot or in brackets.

#include <string>

#include "core/text/jinja/value.h"

namespace cohort::text::jinja {

/// obj[key] and obj.name as the sandbox of Jinja2 looks them up; undefined where there is nothing.
Value get_item(Heap& heap, const Value& object, const Value& key);
Value get_attribute(Heap& heap, const Value& object, const std::string& name);
/// obj[begin:end:step]; none for what is left out.
Value get_slice(Heap& heap, const Value& object, const Value& begin, const Value& end, const Value& step);

}  // namespace cohort::text::jinja
