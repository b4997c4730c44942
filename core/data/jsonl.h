#pragma once
/// Lines of a JSONL file, which is not trusted. What a row may be: row.h.

#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>

#include "core/data/row.h"
#include "core/records/records.pb.h"

namespace cohort::data {

inline constexpr size_t kMaxLineBytes = 1 << 20;  ///< a longer row of questions is a bad row and is not held in memory

/// Lines of a file, never holding more than `max_line_bytes` of one.
class LineReader {
 public:
  /// InputError for what is not a regular file that can be read.
  explicit LineReader(const std::string& path, size_t max_line_bytes = kMaxLineBytes);

  /// False at the end. Fault when the file cannot be read to its end. `too_long` says that the line went on after what `line` holds.
  /// Without "\n", "\r\n" and a byte order mark.
  bool next(std::string& line, bool& too_long);

  uint64_t line() const { return line_; }    ///< number of the last line, from 1
  uint64_t bytes() const { return bytes_; }  ///< read so far

 private:
  std::string path_;
  std::ifstream file_;
  size_t max_line_bytes_;
  uint64_t line_ = 0;
  uint64_t bytes_ = 0;
};

/// One line. InputError "WHERE: …" when it is not a row.
records::Question parse_row(std::string_view line, RowFormat format, const std::string& where);

}  // namespace cohort::data
