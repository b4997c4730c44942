#pragma once
/// Rows of several files, one after the other, as JSON values.

#include <cstdint>
#include <functional>
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

/// Rows that are compared as exact text only because nothing says how (row.h: is_exact_unasked).
struct ExactGuesses {
  uint64_t count = 0;
  std::string first;  ///< where it is, and its data_source

  void look_at(const nlohmann::json& row, const records::Question& question, const std::string& where);
  /// For people: how many, and what to do. "" for none.
  std::string warning() const;
};

struct Rows {
  std::vector<records::Question> questions;  ///< in the files' order; id = index
  std::vector<std::string> places;           ///< of each, "FILE:LINE"
  std::vector<std::string> problems;         ///< the first 20 bad rows, "FILE:LINE: …"
  uint64_t bad_rows = 0;
  ExactGuesses guesses;  ///< among the questions
};

/// Whether a good row is wanted. InputError, which need not say where, makes it a bad one.
using RowCheck = std::function<bool(const records::Question&)>;

/// The questions of a file, a folder or a pattern (data_files.h), all or those that are wanted. InputError with the problems (and how many
/// more there are) unless `skip_bad_rows`, and when there is no good row.
Rows read_rows(const std::string& path, RowFormat format, bool skip_bad_rows, const RowCheck& wanted = {});

}  // namespace cohort::data
