#pragma once
/// Rows of a Parquet file, which is not trusted, through Apache Arrow's C++ library. A build without that library has the class, too, and its
/// constructor says what is missing.
///
/// Only columns that rows are made of (row.h) are read. Strings, numbers, booleans, lists and structs become JSON; values of other types
/// are as null, and members that are null are left out. What a file can make the reader hold is bounded: rows come in batches, Arrow may
/// allocate 1 GiB, the footer may name 4,096 columns, row groups and the like, columns may be nested 8 deep, a file
/// may have 2^26 rows, and their text may be 1,024 times the file, beyond 64 MiB.

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace cohort::data {

class ParquetReader {
 public:
  /// InputError for a file that is no Parquet file or beyond the limits, and in a build without Arrow.
  ParquetReader(const std::string& path, size_t max_row_bytes);
  ~ParquetReader();
  ParquetReader(const ParquetReader&) = delete;
  ParquetReader& operator=(const ParquetReader&) = delete;

  /// False after the last row. InputError for a damaged file, after which there is no next row, and for a row with more text than max_row_bytes.
  bool next(nlohmann::json& row);

  uint64_t row() const;   ///< number of the last row, from 1
  uint64_t rows() const;  ///< that the file says it has

 private:
  struct Content;
  std::unique_ptr<Content> content_;
};

/// Whether this build reads Parquet.
bool has_parquet();

}  // namespace cohort::data
