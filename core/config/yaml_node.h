#pragma once
/// A YAML text as a tree, with line numbers, after everything that a config may not contain has been refused. Internal to core/config.

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cohort::config {

inline constexpr int kCommandLine = 0;  ///< in place of a line number
inline constexpr size_t kMaxConfigBytes = size_t{1} << 20;
inline constexpr int kMaxConfigDepth = 32;

struct YamlEntry;

struct YamlNode {
  enum class Kind { kNull, kScalar, kSequence, kMapping, kRefused };  // kRefused: its problem has been reported

  Kind kind = Kind::kNull;
  int line = kCommandLine;  // of its key, or of the value itself in a list
  bool quoted = false;
  std::string text;                // kScalar
  std::vector<YamlNode> items;     // kSequence
  std::vector<YamlEntry> entries;  // kMapping, in file order, keys unique

  const YamlEntry* find(std::string_view key) const;
  YamlEntry* find(std::string_view key);
};

struct YamlEntry {
  std::string key;
  YamlNode value;
};

/// `report(line, "key.path: expected …, found …")`.
using ReportProblem = std::function<void(int line, const std::string& problem)>;

/// Null when the text is not YAML at all; what else is wrong is reported and left out.
std::unique_ptr<YamlNode> parse_yaml(std::string_view text, const ReportProblem& report);

/// The node in words, for "found …".
std::string describe(const YamlNode& node);

}  // namespace cohort::config
