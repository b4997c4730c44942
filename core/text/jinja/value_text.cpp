#include "core/text/jinja/value_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/text/bpe/unicode_tables.h"
#include "core/text/jinja/comparison.h"
#include "core/text/python.h"
#include "core/text/utf8.h"

namespace cohort::text::jinja {
namespace {

/// Text under construction; foreign as a whole when a part of it is.
struct Writer {
  Heap& heap;
  std::string text;
  bool foreign = false;

  void put(std::string_view more) {
    heap.spend_bytes(more.size());
    text += more;
    if (text.size() > kMaxTextBytes) throw Problem("expected a shorter string");
  }
  MarkedText take() const { return foreign ? MarkedText::foreign(text) : MarkedText::own(text); }
};

/// str.isprintable(): neither a control nor white space other than the blank, nor unassigned. In Unicode 16, where Python 3.11 has 14.
bool is_printable(char32_t code) {
  constexpr auto kSeen = static_cast<uint8_t>(bpe::kLetter | bpe::kMark | bpe::kNumber | bpe::kPunctuation | bpe::kSymbol);
  return code == ' ' || (bpe::code_flags()[code] & kSeen) != 0;
}

void write_repr_of_text(Writer& out, const MarkedText& value) {
  out.foreign = out.foreign || value.any_foreign();
  const std::string& text = value.text();
  const char quote = text.find('\'') != std::string::npos && text.find('"') == std::string::npos ? '"' : '\'';
  std::string quoted(1, quote);
  for (size_t at = 0; at < text.size();) {
    const Character c = character_at(text, at);
    if (c.code == static_cast<unsigned char>(quote) || c.code == '\\') {
      quoted += {'\\', static_cast<char>(c.code)};
    } else if (c.code == '\n' || c.code == '\r' || c.code == '\t') {
      quoted += c.code == '\n' ? "\\n" : c.code == '\r' ? "\\r" : "\\t";
    } else if (is_printable(c.code)) {
      quoted.append(text, at, c.length);
    } else {
      const auto code = static_cast<uint32_t>(c.code);
      quoted += code < 0x100     ? fmt::format("\\x{:02x}", code)
                : code < 0x10000 ? fmt::format("\\u{:04x}", code)
                                 : fmt::format("\\U{:08x}", code);
    }
    at += c.length;
  }
  quoted += quote;
  out.put(quoted);
}

void write_repr(Writer& out, const Value& value, int depth);

void write_repr_of_sequence(Writer& out, const Value& value, int depth) {
  const Sequence& sequence = *value.get<Sequence*>();
  const bool tuple = sequence.kind == Sequence::Kind::kTuple;
  if (!tuple && sequence.kind != Sequence::Kind::kList)
    throw Problem("expected a list to write, found a " + type_name(value) + "; put |list behind it");
  out.put(tuple ? "(" : "[");
  for (size_t i = 0; i < sequence.items.size(); ++i) {
    if (i > 0) out.put(", ");
    write_repr(out, sequence.items[i], depth + 1);
  }
  out.put(tuple ? sequence.items.size() == 1 ? ",)" : ")" : "]");
}

void write_scalar(Writer& out, const Value& value) {
  if (value.is_none()) {
    out.put("None");
  } else if (value.is<bool>()) {
    out.put(value.get<bool>() ? "True" : "False");
  } else if (value.is<int64_t>()) {
    out.put(std::to_string(value.get<int64_t>()));
  } else if (value.is<double>()) {
    out.put(python_float(value.get<double>()));
  } else {
    throw Problem("expected a string, a number, a list or a mapping to write, found " + type_name(value));
  }
}

void write_repr(Writer& out, const Value& value, int depth) {
  require_shallow(depth);
  if (value.is_undefined()) return out.put("Undefined");
  if (value.is_text()) return write_repr_of_text(out, value.as_text());
  if (value.is<Sequence*>()) return write_repr_of_sequence(out, value, depth);
  if (!value.is<Mapping*>()) return write_scalar(out, value);
  out.put("{");
  bool first = true;
  for (const auto& [key, item] : value.get<Mapping*>()->items) {
    if (!first) out.put(", ");
    first = false;
    write_repr(out, key, depth + 1);
    out.put(": ");
    write_repr(out, item, depth + 1);
  }
  out.put("}");
}

// ---- JSON ---------------------------------------------------------------------------------------------------------------------------

std::string json_escape(char32_t code) {
  switch (code) {
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    case '\f':
      return "\\f";
    case '\b':
      return "\\b";
    default:
      break;
  }
  if (code < 0x10000) return fmt::format("\\u{:04x}", static_cast<uint32_t>(code));
  const uint32_t rest = static_cast<uint32_t>(code) - 0x10000;
  return fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (rest >> 10), 0xDC00 + (rest & 0x3FF));
}

void write_json_text(Writer& out, const MarkedText& value, bool ascii) {
  out.foreign = out.foreign || value.any_foreign();
  std::string quoted = "\"";
  const std::string& text = value.text();
  for (size_t at = 0; at < text.size();) {
    const Character c = character_at(text, at);
    if (c.code < 0x20 || c.code == '"' || c.code == '\\' || (ascii && c.code > 0x7E)) {
      quoted += json_escape(c.code);
    } else {
      quoted.append(text, at, c.length);
    }
    at += c.length;
  }
  out.put(quoted += '"');
}

void write_json_number(Writer& out, const Value& value) {
  if (value.is_none()) return out.put("null");
  if (value.is<bool>()) return out.put(value.get<bool>() ? "true" : "false");
  if (value.is<double>() && !std::isfinite(value.get<double>()))
    return out.put(std::isnan(value.get<double>()) ? "NaN" : value.get<double>() > 0 ? "Infinity" : "-Infinity");
  write_scalar(out, value);
}

void write_json_key(Writer& out, const Value& key, bool ascii) {
  if (key.is_text()) return write_json_text(out, key.as_text(), ascii);
  out.put("\"");
  write_json_number(out, key);
  out.put("\"");
}

void write_json(Writer& out, const Value& value, const JsonStyle& style, int depth);

/// A line break before an item, or the end, of a container at `depth`.
void write_json_break(Writer& out, const JsonStyle& style, int depth) {
  if (!style.has_indent) return;
  out.put("\n");
  for (int i = 0; i < depth; ++i) out.put(style.indent);
}

void write_json_items(Writer& out, const Sequence& sequence, const JsonStyle& style, int depth) {
  if (sequence.kind != Sequence::Kind::kList && sequence.kind != Sequence::Kind::kTuple)
    throw Problem("tojson: expected a list, found a generator; put |list behind it");
  if (sequence.items.empty()) return out.put("[]");
  out.put("[");
  for (size_t i = 0; i < sequence.items.size(); ++i) {
    if (i > 0) out.put(style.item_separator);
    write_json_break(out, style, depth + 1);
    write_json(out, sequence.items[i], style, depth + 1);
  }
  write_json_break(out, style, depth);
  out.put("]");
}

void write_json_members(Writer& out, const Mapping& mapping, const JsonStyle& style, int depth) {
  if (mapping.items.empty()) return out.put("{}");
  std::vector<const std::pair<Value, Value>*> members;
  for (const auto& item : mapping.items) members.push_back(&item);
  if (style.sort_keys)
    std::stable_sort(members.begin(), members.end(), [&](const auto* a, const auto* b) { return less(out.heap, a->first, b->first); });
  out.put("{");
  for (size_t i = 0; i < members.size(); ++i) {
    if (i > 0) out.put(style.item_separator);
    write_json_break(out, style, depth + 1);
    write_json_key(out, members[i]->first, style.ascii);
    out.put(style.key_separator);
    write_json(out, members[i]->second, style, depth + 1);
  }
  write_json_break(out, style, depth);
  out.put("}");
}

void write_json(Writer& out, const Value& value, const JsonStyle& style, int depth) {
  require_shallow(depth);
  if (value.is_text()) return write_json_text(out, value.as_text(), style.ascii);
  if (value.is<Sequence*>()) return write_json_items(out, *value.get<Sequence*>(), style, depth);
  if (value.is<Mapping*>()) return write_json_members(out, *value.get<Mapping*>(), style, depth);
  if (!value.is_none() && !value.is_number()) throw Problem("tojson: expected what JSON can say, found " + type_name(value));
  write_json_number(out, value);
}

}  // namespace

MarkedText to_text(Heap& heap, const Value& value) {
  if (value.is_text()) return value.as_text();
  if (value.is_undefined()) return {};
  Writer out{heap, {}, false};
  write_repr(out, value, 0);
  return out.take();
}

MarkedText to_json_text(Heap& heap, const Value& value, const JsonStyle& style) {
  Writer out{heap, {}, false};
  write_json(out, value, style, 0);
  return out.take();
}

}  // namespace cohort::text::jinja
