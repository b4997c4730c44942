#pragma once
/// metrics.jsonl: one object per step, numbers written so that equal runs give equal bytes.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cohort {

/// Name → number, in the order in which names were first set.
class Metrics {
 public:
  using Entry = std::pair<std::string, double>;

  double& operator[](std::string_view name);        ///< added as 0 where missing
  const double* find(std::string_view name) const;  ///< null where missing
  bool empty() const { return entries_.empty(); }
  std::vector<Entry>::const_iterator begin() const { return entries_.begin(); }
  std::vector<Entry>::const_iterator end() const { return entries_.end(); }

 private:
  std::vector<Entry> entries_;
};

/// The line (without '\n'): {"stage":…,"step":…,NAME:VALUE,…}. Numbers in the shortest form that reads back equal; NaN and infinities,
/// which JSON lacks, as null.
std::string metrics_line(std::string_view stage, int64_t step, const Metrics& metrics);

/// Appends lines to a file; each reaches the operating system before write() returns. One writer per file.
class MetricsWriter {
 public:
  /// Opens or creates `path`. With `keep_bytes` what lies beyond is cut off first (resume from a checkpoint that recorded bytes()); a file
  /// shorter than that is a Fault.
  explicit MetricsWriter(const std::string& path, std::optional<uint64_t> keep_bytes = std::nullopt);
  ~MetricsWriter();
  MetricsWriter(const MetricsWriter&) = delete;
  MetricsWriter& operator=(const MetricsWriter&) = delete;

  void write(std::string_view stage, int64_t step, const Metrics& metrics);
  /// Appends any text followed by '\n' (for other JSONL files kept the same way, such as samples).
  void write_line(std::string_view line);
  void sync();                               ///< fsync; call before a checkpoint records bytes()
  uint64_t bytes() const { return bytes_; }  ///< length of the file

 private:
  std::string path_;
  int descriptor_ = -1;
  uint64_t bytes_ = 0;
};

}  // namespace cohort
