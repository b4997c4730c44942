#pragma once
/// Rows of several files, one after the other, as JSON values.

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/data/jsonl.h"

namespace cohort::data {

/// A row, or what is wrong with it.
struct Row {
  nlohmann::json value;
  std::string where;    ///< "FILE:LINE", or "FILE: row N" of Parquet
  std::string problem;  ///< not empty: there is no value
};

/// Holds one line or one batch of Parquet rows at a time.
class RowReader {
 public:
  /// Files are opened as their turn comes.
  explicit RowReader(std::vector<std::string> files, size_t max_row_bytes = kMaxLineBytes);
  ~RowReader();
  RowReader(const RowReader&) = delete;
  RowReader& operator=(const RowReader&) = delete;

  /// False after the last row of the last file. Empty lines are skipped; a byte order mark and CRLF are accepted. InputError for a file
  /// that cannot be opened or goes on being unreadable.
  bool next(Row& row);

  uint64_t bytes_read() const;   ///< about, of Parquet
  uint64_t bytes_total() const;  ///< of all files, when they were given

 private:
  struct Content;
  std::unique_ptr<Content> content_;
};

struct Rows {
  std::vector<records::Question> questions;  ///< in the files' order; id = index
  std::vector<std::string> problems;         ///< the first 20 bad rows, "FILE:LINE: …"
  uint64_t bad_rows = 0;
};

/// All questions of a file, a folder or a pattern (data_files.h). InputError with the problems (and how many more there are) unless
/// `skip_bad_rows`, and when no good row is left.
Rows read_rows(const std::string& path, RowFormat format, bool skip_bad_rows);

}  // namespace cohort::data
