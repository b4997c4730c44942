#pragma once
/// Config structs (field.h) → YAML.
///
/// write_config     every key with its value: reads back equal; the same config gives the same text on every machine, so it can be hashed.
/// write_reference  the same with, above each key, what it means, what it accepts; lists that are empty by default show one element and
///                  variants show their other alternatives, as comments. Reads back as the defaults.

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "core/config/field.h"

namespace cohort::config {

/// The visitor. Use write_config() and write_reference() below.
class YamlWriter {
 public:
  explicit YamlWriter(bool document) : document_(document) {}  ///< `document` adds the comments

  void number(const char* key, const double& value, const Range& range, const char* doc);
  void integer(const char* key, const int64_t& value, const Range& range, const char* doc);
  void flag(const char* key, const bool& value, const char* doc);
  void text(const char* key, const std::string& value, const char* doc);
  void choice(const char* key, const std::string& value, const std::vector<std::string>& choices, const char* doc);
  void numbers(const char* key, const std::vector<double>& values, const Range& range, const char* doc);
  void integers(const char* key, const std::vector<int64_t>& values, const Range& range, const char* doc);
  void texts(const char* key, const std::vector<std::string>& values, const char* doc);
  void rule(bool, const std::string&, const std::string&, const std::string&) {}

  template <class T>
  void section(const char* key, T& value, const char* doc) {
    comment(doc, "");
    mapping(key, render(value));
  }

  template <class T>
  void list(const char* key, std::vector<T>& values, const char* doc) {
    comment(doc, "a list of mappings");
    open_list(key, values.empty());
    for (T& value : values) element(render(value));
    if (!values.empty() || !document_) return;
    T example{};
    example_list(key, render(example));
  }

  template <class... Alternatives>
  void variant(const char* key, std::variant<Alternatives...>& value, const char* doc) {
    const std::vector<std::string> types = {Alternatives::kType...};
    std::visit(
        [&](auto& alternative) {
          choice(key, std::decay_t<decltype(alternative)>::kType, types, doc);
          alternative.visit(*this);
        },
        value);
    if (document_) (other_alternative<Alternatives>(key, types[value.index()]), ...);
  }

  std::string yaml() const { return yaml_.empty() ? "{}\n" : yaml_; }

 private:
  /// A nested struct, not indented.
  template <class T>
  std::string render(T& value) const {
    YamlWriter body(document_);
    value.visit(body);
    return body.yaml_;
  }

  template <class T>
  void other_alternative(const char* key, const std::string& current) {
    if (current == T::kType) return;
    T example{};
    example_alternative(key, T::kType, render(example));
  }

  void scalar(const char* key, const std::string& value);
  void comment(const std::string& doc, const std::string& accepts);
  void mapping(const char* key, const std::string& body);
  void open_list(const char* key, bool empty);
  void element(const std::string& body);
  void example_list(const char* key, const std::string& body);
  void example_alternative(const char* key, const char* type, const std::string& body);

  bool document_;
  std::string yaml_;
};

/// The config as YAML text.
template <class T>
std::string write_config(const T& config) {
  T copy = config;  // visit() is one template for readers and writers, hence not const
  YamlWriter writer(false);
  copy.visit(writer);
  return writer.yaml();
}

/// The documentation of a config's keys.
template <class T>
std::string write_reference(const T& defaults) {
  T copy = defaults;
  YamlWriter writer(true);
  copy.visit(writer);
  return writer.yaml();
}

}  // namespace cohort::config
