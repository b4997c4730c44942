#include "core/config/yaml_writer.h"

#include <fmt/core.h>

#include <charconv>
#include <cmath>

#include "core/base/error.h"
#include "core/base/text_util.h"

namespace cohort::config {

namespace {

constexpr size_t kCommentWidth = 120;

std::string number_text(double value) {
  if (!std::isfinite(value)) throw Fault(fmt::format("a config holds the number {}, which no file can hold", value));
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, value);
  std::string text(buffer, result.ptr);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";  // shows that a fraction is allowed
  return text;
}

/// Text that YAML, old or new, cannot take for anything else may stand without quotes.
bool is_plain_text(const std::string& text) {
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  if (text.empty() || (!is_letter(text[0]) && text[0] != '/')) return false;
  for (const char c : text) {
    if (!is_letter(c) && !(c >= '0' && c <= '9') && c != '-' && c != '.' && c != '/' && c != '+') return false;
  }
  std::string lower = text;
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  for (const char* word : {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}) {
    if (lower == word) return false;
  }
  return true;
}

std::string text_text(const std::string& text) {
  if (is_plain_text(text)) return text;
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (c == '\n') {
      quoted += "\\n";
    } else if (c == '\t') {
      quoted += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      quoted += fmt::format("\\x{:02x}", byte);
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

template <class Value, class Write>
std::string flow_list(const std::vector<Value>& values, Write write) {
  std::vector<std::string> parts;
  for (const Value& value : values) parts.push_back(write(value));
  return "[" + join(parts) + "]";
}

/// Every line of `body` with `first` (first line) or `rest` (others) before it.
std::string prefixed(const std::string& body, const std::string& first, const std::string& rest) {
  std::string result;
  for (size_t begin = 0; begin < body.size();) {
    const size_t end = body.find('\n', begin);
    result += (begin == 0 ? first : rest) + body.substr(begin, end - begin + 1);
    begin = end + 1;
  }
  return result;
}

std::string accepts(const char* what, const Range& range) {
  const std::string words = range.text();
  return words.empty() ? what : fmt::format("{} {}", what, words);
}

}  // namespace

void YamlWriter::scalar(const char* key, const std::string& value) { yaml_ += fmt::format("{}: {}\n", key, value); }

void YamlWriter::comment(const std::string& doc, const std::string& accepted) {
  if (!document_) return;
  std::string text = doc;
  if (!accepted.empty()) text += (text.empty() ? "" : " ") + fmt::format("({})", accepted);
  std::string line = "#";
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find_first_of(" \n", begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    if (line.size() + 1 + word.size() > kCommentWidth && line != "#") {
      yaml_ += line + "\n";
      line = "#";
    }
    if (!word.empty()) line += " " + word;
    begin = end + 1;
  }
  if (line != "#") yaml_ += line + "\n";
}

void YamlWriter::number(const char* key, const double& value, const Range& range, const char* doc) {
  comment(doc, accepts("a number", range));
  scalar(key, number_text(value));
}

void YamlWriter::integer(const char* key, const int64_t& value, const Range& range, const char* doc) {
  comment(doc, accepts("an integer", range));
  scalar(key, std::to_string(value));
}

void YamlWriter::flag(const char* key, const bool& value, const char* doc) {
  comment(doc, "true or false");
  scalar(key, value ? "true" : "false");
}

void YamlWriter::text(const char* key, const std::string& value, const char* doc) {
  comment(doc, "text");
  scalar(key, text_text(value));
}

void YamlWriter::choice(const char* key, const std::string& value, const std::vector<std::string>& choices, const char* doc) {
  comment(doc, join(choices, " | "));
  scalar(key, text_text(value));
}

void YamlWriter::numbers(const char* key, const std::vector<double>& values, const Range& range, const char* doc) {
  comment(doc, accepts("a list; each a number", range));
  scalar(key, flow_list(values, number_text));
}

void YamlWriter::integers(const char* key, const std::vector<int64_t>& values, const Range& range, const char* doc) {
  comment(doc, accepts("a list; each an integer", range));
  scalar(key, flow_list(values, [](int64_t value) { return std::to_string(value); }));
}

void YamlWriter::texts(const char* key, const std::vector<std::string>& values, const char* doc) {
  comment(doc, "a list of texts");
  scalar(key, flow_list(values, text_text));
}

void YamlWriter::mapping(const char* key, const std::string& body) {
  if (body.empty()) return scalar(key, "{}");
  yaml_ += fmt::format("{}:\n", key);
  yaml_ += prefixed(body, "  ", "  ");
}

void YamlWriter::open_list(const char* key, bool empty) { yaml_ += fmt::format("{}:{}\n", key, empty ? " []" : ""); }

void YamlWriter::element(const std::string& body) {
  // With comments inside, the dash stands alone so that it precedes a key and not a comment.
  if (body.empty()) {
    yaml_ += "  - {}\n";
  } else if (body.front() == '#') {
    yaml_ += "  -\n" + prefixed(body, "    ", "    ");
  } else {
    yaml_ += prefixed(body, "  - ", "    ");
  }
}

void YamlWriter::example_list(const char* key, const std::string& body) {
  YamlWriter example(document_);
  example.open_list(key, false);
  example.element(body);
  yaml_ += "# One element, with its defaults:\n" + prefixed(example.yaml_, "#   ", "#   ");
}

void YamlWriter::example_alternative(const char* key, const char* type, const std::string& body) {
  yaml_ += fmt::format("# With {}: {} the keys here are instead:\n", key, type);
  yaml_ += body.empty() ? "#   (none)\n" : prefixed(body, "#   ", "#   ");
}

}  // namespace cohort::config
