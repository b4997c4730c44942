#pragma once
/// What a template reads: a value of the messages or of the variables, with the rules of Jinja and Python for it.

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace cohort::text::chat {

/// A reference: the JSON must outlive it. Undefined where the messages have no such value. `path` names it in messages of InputErrors.
class Value {
 public:
  Value(const nlohmann::ordered_json* json, std::string path) : json_(json), path_(std::move(path)) {}

  /// The member; undefined where there is none. InputError of an undefined value.
  Value operator[](const char* key) const;
  /// The element; undefined outside the list.
  Value at(size_t index) const;
  /// The elements of a list; none of an undefined value. InputError for anything else that is not empty.
  std::vector<Value> items() const;
  size_t size() const { return items().size(); }

  bool defined() const { return json_ != nullptr; }
  bool has(const char* key) const { return defined() && json_->is_object() && json_->contains(key); }
  bool is_null() const { return defined() && json_->is_null(); }
  bool is_string() const { return defined() && json_->is_string(); }
  bool is_scalar() const { return defined() && !json_->is_string() && !json_->is_structured(); }  ///< null, a boolean or a number
  bool is_false() const { return defined() && json_->is_boolean() && !json_->get<bool>(); }
  bool is(std::string_view text) const { return is_string() && json_->get_ref<const std::string&>() == text; }
  /// As `if` takes it: null, false, 0 and what is empty or undefined are not.
  bool truthy() const;

  /// The operand of a concatenation. InputError unless it is a string.
  const std::string& text() const;
  /// As {{ value }} prints it: undefined as nothing, null as None. InputError for lists and objects.
  std::string printed() const;
  /// The filter tojson: json.dumps with ensure_ascii=False; `indent` 0 for one line. InputError for an undefined value.
  std::string to_json(int indent = 0) const;
  /// As to_json(), but for the members of an object: {name, value}.
  std::vector<std::pair<std::string, Value>> members() const;

  /// "PATH: expected EXPECTED, found …"
  [[noreturn]] void refuse(const std::string& expected) const;

 private:
  const nlohmann::ordered_json* json_;
  std::string path_;
};

/// str.strip("\n") of Python, lstrip and rstrip.
std::string_view strip_newlines(std::string_view text, bool left, bool right);

}  // namespace cohort::text::chat
