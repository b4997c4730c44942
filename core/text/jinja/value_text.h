#pragma once
/// Values written down: str(), repr() and json.dumps().

#include <string>

#include "core/text/jinja/value.h"

namespace cohort::text::jinja {

/// str(): what {{ … }} writes.
MarkedText to_text(Heap& heap, const Value& value);

struct JsonStyle {
  bool ascii = false;
  bool sort_keys = false;
  bool has_indent = false;
  std::string indent = {};
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
/// json.dumps(). All of it is foreign if any string in it is.
MarkedText to_json_text(Heap& heap, const Value& value, const JsonStyle& style);

}  // namespace cohort::text::jinja
