#pragma once
/// Where tests find files of the repository, and real data.

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

namespace cohort::test {

/// Absolute path of a file of the repository, e.g. source_path("configs/smoke.yaml").
inline std::string source_path(const std::string& relative) { return std::string(COHORT_SOURCE_DIR) + "/" + relative; }

/// Absolute path of a fixture: golden_path("model/deepseek_v3_tiny.safetensors") is tests/golden/model/deepseek_v3_tiny.safetensors.
inline std::string golden_path(const std::string& relative) { return source_path("tests/golden/" + relative); }

/// The folder with real data (COHORT_DATA), or "" where it is not set.
inline std::string data_path() {
  const char* value = std::getenv("COHORT_DATA");
  return value == nullptr ? "" : value;
}

/// A file or folder of the real data: real_data("gsm8k/train.jsonl"). Where it is absent there is a warning that names it, and the test
/// skips what needs it. A user may have only some of them.
inline std::optional<std::string> real_data(const std::string& name) {
  const std::string folder = data_path(), path = folder + "/" + name;
  std::error_code ignored;
  if (!folder.empty() && std::filesystem::exists(path, ignored)) return path;
  WARN("skipped: no " << name << " in COHORT_DATA" << (folder.empty() ? ", which is not set" : ""));
  return std::nullopt;
}

}  // namespace cohort::test
