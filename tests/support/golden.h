#pragma once
/// Where tests find files of the repository.

#include <cstdlib>
#include <string>

namespace cohort::test {

/// Absolute path of a file of the repository, e.g. source_path("configs/smoke.yaml").
inline std::string source_path(const std::string& relative) { return std::string(COHORT_SOURCE_DIR) + "/" + relative; }

/// Absolute path of a fixture: golden_path("model/deepseek_v3_tiny.safetensors") is tests/golden/model/deepseek_v3_tiny.safetensors.
inline std::string golden_path(const std::string& relative) { return source_path("tests/golden/" + relative); }

/// The folder with real data (COHORT_DATA), or "" where it is not set: tests that need it then skip and say so.
inline std::string data_path() {
  const char* value = std::getenv("COHORT_DATA");
  return value == nullptr ? "" : value;
}

}  // namespace cohort::test
