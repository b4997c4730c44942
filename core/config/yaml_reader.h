#pragma once
/// Strict YAML → config structs (field.h). Reads everything, collects every problem, then either returns a struct in which every value was
/// checked or throws one InputError with all of them:
///
///   r1.yaml:12: stages.zero.rollout.n: expected an integer at least 1, found 0
///   r1.yaml:14: stages.zero.clip_ration: unknown key, did you mean 'clip_ratio'?
///   command line: run.sed: unknown key, did you mean 'seed'?
///
/// Refused: unknown and duplicate keys, anchors, aliases, merge keys, tags, a second document, tabs in the indentation, integers such as
/// 010, 0x10 or 1_000, .nan and .inf, yes/on for true, values of another type or out of range, a missing value, invalid UTF-8, files over
/// 1 MiB, nesting deeper than 32. Elements of a list are named by their `name`, if they have one, or else by index.
///
/// Overrides are "key.path=value". A value that starts with [, {, " or ' is read as YAML, any other is the text as it stands. They may set
/// keys the file leaves out, and reach into a list by an element's name or index; of two for one key the later wins.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/config/field.h"

namespace cohort::config {

struct YamlNode;

/// Where each key of a read config stands, for problems found later (a file that is missing, stages that form a cycle).
class Places {
 public:
  /// "file:line: key.path: expected …, found …" with the line of the key or of the nearest mapping around it.
  std::string problem(const std::string& key_path, const std::string& expected, const std::string& found) const;

 private:
  friend class YamlReader;
  int line_of(std::string key_path) const;
  std::string at(int line) const;  // "file:line", or "command line" for kCommandLine
  std::string file_;
  std::map<std::string, int> lines_;  // key path → line
};

/// The visitor. Use read_config() below.
class YamlReader {
 public:
  /// Parses; problems of the text itself are collected like all others.
  YamlReader(std::string_view text, std::string file, const std::vector<std::string>& overrides);
  ~YamlReader();

  void number(const char* key, double& value, const Range& range, const char* doc);
  void integer(const char* key, int64_t& value, const Range& range, const char* doc);
  void flag(const char* key, bool& value, const char* doc);
  void text(const char* key, std::string& value, const char* doc);
  void choice(const char* key, std::string& value, const std::vector<std::string>& choices, const char* doc);
  void numbers(const char* key, std::vector<double>& values, const Range& range, const char* doc);
  void integers(const char* key, std::vector<int64_t>& values, const Range& range, const char* doc);
  void texts(const char* key, std::vector<std::string>& values, const char* doc);
  void rule(bool holds, const std::string& key, const std::string& expected, const std::string& found);

  template <class T>
  void section(const char* key, T& value, const char*) {
    if (!open_section(key)) return;
    value.visit(*this);
    close();
  }

  template <class T>
  void list(const char* key, std::vector<T>& values, const char*) {
    const YamlNode* sequence = find_list(key);
    if (sequence == nullptr) return;
    values.clear();
    for (size_t i = 0; i < list_size(*sequence); ++i) {
      values.emplace_back();
      if (!open_element(key, *sequence, i)) continue;
      values.back().visit(*this);
      close();
    }
  }

  template <class... Alternatives>
  void variant(const char* key, std::variant<Alternatives...>& value, const char*) {
    const std::string type = selected_type(key, {Alternatives::kType...});
    if (!type.empty()) (select<Alternatives>(type, value) || ...);
    if (!type.empty() || !in_file()) std::visit([this](auto& alternative) { alternative.visit(*this); }, value);
  }

  /// Throws the InputError when there were problems; unknown keys are found as the structs close.
  void finish();

  bool open_root();
  void close();
  const Places& places() const { return places_; }

 private:
  struct Frame;

  template <class T, class Variant>
  static bool select(const std::string& type, Variant& value) {
    if (type != T::kType) return false;
    if (!std::holds_alternative<T>(value)) value = T{};
    return true;
  }

  const YamlNode* find(const char* key);
  const YamlNode* find_list(const char* key);
  static size_t list_size(const YamlNode& sequence);
  bool open(const YamlNode* node, const std::string& path);
  bool open_section(const char* key);
  bool open_element(const char* key, const YamlNode& sequence, size_t index);
  std::string selected_type(const char* key, const std::vector<std::string>& types);
  bool in_file() const;  // whether the struct being visited has a mapping in the file
  std::string path_of(const std::string& key) const;
  void expect(const YamlNode& node, const std::string& path, const std::string& expected);
  bool read_number(const YamlNode& node, const std::string& path, double& value, const Range& range);
  bool read_integer(const YamlNode& node, const std::string& path, int64_t& value, const Range& range);
  bool read_text(const YamlNode& node, const std::string& path, std::string& value);
  template <class Value, class Read>
  void read_list(const char* key, std::vector<Value>& values, const std::string& expected, Read read);
  void apply_override(const std::string& text);
  void set(const std::string& path, YamlNode value);
  void report_unknown(const Frame& frame);
  void problem(int line, const std::string& text);

  struct Problem {
    int line;
    std::string text;
  };

  std::unique_ptr<YamlNode> root_;  // null when the text could not be parsed
  std::vector<Frame> frames_;
  std::vector<Problem> problems_;
  size_t left_out_ = 0;             // problems beyond the limit
  std::vector<std::string> wrong_;  // key paths with a problem of their own: rules about them would only repeat it
  Places places_;
};

/// Reads text that stands for `file` in messages.
template <class T>
T read_config_text(std::string_view text, const std::string& file, const std::vector<std::string>& overrides = {},
                   Places* places = nullptr) {
  T value{};
  YamlReader reader(text, file, overrides);
  if (reader.open_root()) {
    value.visit(reader);
    reader.close();
  }
  reader.finish();
  if (places != nullptr) *places = reader.places();
  return value;
}

/// The file's bytes; InputError when it is missing, unreadable or over 1 MiB.
std::string read_config_file(const std::string& path);

/// Reads a file.
template <class T>
T read_config(const std::string& path, const std::vector<std::string>& overrides = {}, Places* places = nullptr) {
  return read_config_text<T>(read_config_file(path), path, overrides, places);
}

}  // namespace cohort::config
