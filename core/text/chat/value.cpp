#include "core/text/chat/value.h"

#include <fmt/core.h>

#include <cmath>

#include "core/base/error.h"
#include "core/base/text_util.h"
#include "core/text/python.h"

namespace cohort::text::chat {
namespace {

constexpr int kMaxDepth = 64;

/// Bytes that are not UTF-8, which Python cannot be given, become U+FFFD.
std::string dump(const nlohmann::ordered_json& value) {
  return value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

/// json.dumps; with an indent every element has its line. The interpreter has one of its own (jinja/value_text.cpp): it writes other
/// values, with the filter's options, and counts what it costs.
class JsonWriter {
 public:
  JsonWriter(const Value& whole, int indent) : whole_(whole), indent_(indent) {}
  void write(const nlohmann::ordered_json& value, int depth) {
    if (depth > kMaxDepth) whole_.refuse(fmt::format("at most {} levels of lists and objects", kMaxDepth));
    if (value.is_array()) return write_all(value, '[', ']', depth);
    if (value.is_object()) return write_all(value, '{', '}', depth);
    out += value.is_number_float() ? json_float(value.get<double>()) : dump(value);
  }
  std::string out;

 private:
  static std::string json_float(double number) {
    if (std::isnan(number)) return "NaN";
    if (std::isinf(number)) return number > 0 ? "Infinity" : "-Infinity";
    return python_float(number);
  }
  void new_line(int depth) {
    if (indent_ > 0) out += "\n" + std::string(static_cast<size_t>(indent_ * depth), ' ');
  }
  void write_all(const nlohmann::ordered_json& value, char open, char close, int depth) {
    out += open;
    for (auto each = value.begin(); each != value.end(); ++each) {
      if (each != value.begin()) out += indent_ > 0 ? "," : ", ";
      new_line(depth + 1);
      if (value.is_object()) out += dump(each.key()) + ": ";
      write(*each, depth + 1);
    }
    if (!value.empty()) new_line(depth);
    out += close;
  }

  const Value& whole_;
  int indent_;
};

}  // namespace

void Value::refuse(const std::string& expected) const {
  const std::string found = !defined() ? "nothing" : json_->is_structured() ? json_->type_name() : printable(dump(*json_));
  throw InputError(fmt::format("{}: expected {}, found {}", path_, expected, found));
}

Value Value::operator[](const char* key) const {
  if (!defined()) refuse("a value");
  const std::string path = path_ + "." + key;
  if (!json_->is_object()) return {nullptr, path};
  const auto found = json_->find(key);
  return {found == json_->end() ? nullptr : &*found, path};
}

Value Value::at(size_t index) const {
  const bool there = defined() && json_->is_array() && index < json_->size();
  return {there ? &(*json_)[index] : nullptr, fmt::format("{}[{}]", path_, index)};
}

std::vector<Value> Value::items() const {
  std::vector<Value> values;
  if (!defined()) return values;
  const bool empty = (json_->is_object() && json_->empty()) || is("");
  if (!json_->is_array() && !empty) refuse("a list");
  if (json_->is_array())
    for (size_t i = 0; i < json_->size(); ++i) values.push_back(at(i));
  return values;
}

bool Value::truthy() const {
  if (!defined() || json_->is_null()) return false;
  if (json_->is_boolean()) return json_->get<bool>();
  if (json_->is_number()) return json_->get<double>() != 0;
  return is_string() ? !json_->get_ref<const std::string&>().empty() : !json_->empty();
}

const std::string& Value::text() const {
  if (!is_string()) refuse("a string");
  return json_->get_ref<const std::string&>();
}

std::string Value::printed() const {
  if (!defined()) return "";
  if (is_string()) return text();
  if (json_->is_null()) return "None";
  if (json_->is_boolean()) return json_->get<bool>() ? "True" : "False";
  if (json_->is_number_float()) return python_float(json_->get<double>());
  if (json_->is_number()) return json_->dump();
  refuse("a string");
}

std::string Value::to_json(int indent) const {
  if (!defined()) refuse("a value");
  JsonWriter writer(*this, indent);
  writer.write(*json_, 0);
  return std::move(writer.out);
}

std::vector<std::pair<std::string, Value>> Value::members() const {
  std::vector<std::pair<std::string, Value>> all;
  if (!defined()) return all;
  if (!json_->is_object()) refuse("an object");
  for (auto each = json_->begin(); each != json_->end(); ++each) all.emplace_back(each.key(), Value(&*each, path_ + "." + each.key()));
  return all;
}

std::string_view strip_newlines(std::string_view text, bool left, bool right) {
  while (left && text.starts_with('\n')) text.remove_prefix(1);
  while (right && text.ends_with('\n')) text.remove_suffix(1);
  return text;
}

}  // namespace cohort::text::chat
