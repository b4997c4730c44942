// Parquet through Apache Arrow. The only file that includes its headers.
#include <arrow/api.h>
#include <arrow/io/file.h>
#include <parquet/arrow/reader.h>
#include <parquet/arrow/schema.h>
#include <parquet/exception.h>
#include <parquet/file_reader.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/text_util.h"
#include "core/data/parquet.h"

namespace cohort::data {
namespace {

using nlohmann::json;

constexpr int64_t kBatchRows = 256;
constexpr int64_t kMaxPoolBytes = int64_t{1} << 30;
constexpr int64_t kMaxRows = int64_t{1} << 26;
constexpr int32_t kMaxThriftElements = 4096;
constexpr int32_t kMaxThriftText = 1 << 24;
constexpr int kMaxDepth = 8;
constexpr uint64_t kMaxExpansion = 1024;   // text per byte of the file …
constexpr uint64_t kFreeText = 64 << 20;   // … beyond this much
constexpr int64_t kBufferBytes = 1 << 16;  // of a column chunk's file reads

/// Columns that rows are made of (row.h) and those with recorded completions (core/eval/completions.h).
constexpr std::array<std::string_view, 16> kColumns = {
    "data_source", "prompt",       "reward_model", "extra_info", "question",      "answer",      "problem",   "solution",
    "level",       "ground_truth", "completion",   "messages",   "conversations", "completions", "responses", "verifier"};

[[noreturn]] void refuse(const std::string& path, const std::string& found) {
  throw InputError(path + ": expected a readable Parquet file, found " + printable(found, 200));
}

/// Column indices of the leaves below a field. Says whether it is nested no deeper than allowed.
bool add_leaves(const parquet::arrow::SchemaField& field, int depth, std::vector<int>& leaves) {
  if (depth > kMaxDepth) return false;
  if (field.is_leaf()) leaves.push_back(field.column_index);
  return std::all_of(field.children.begin(), field.children.end(), [&](const auto& child) { return add_leaves(child, depth + 1, leaves); });
}

/// Values as JSON; the text of one row is counted.
class Converter {
 public:
  Converter(std::string where, size_t max_bytes) : where_(std::move(where)), max_bytes_(max_bytes) {}

  size_t bytes() const { return bytes_; }  ///< of text so far

  json value(const arrow::Array& array, int64_t i) {
    if (array.IsNull(i)) return nullptr;
    switch (array.type_id()) {
      case arrow::Type::BOOL:
        return static_cast<const arrow::BooleanArray&>(array).Value(i);
      case arrow::Type::STRING:
        return text(static_cast<const arrow::StringArray&>(array).GetView(i));
      case arrow::Type::LARGE_STRING:
        return text(static_cast<const arrow::LargeStringArray&>(array).GetView(i));
      case arrow::Type::LIST:
        return list(static_cast<const arrow::ListArray&>(array), i);
      case arrow::Type::LARGE_LIST:
        return list(static_cast<const arrow::LargeListArray&>(array), i);
      case arrow::Type::STRUCT:
        return object(static_cast<const arrow::StructArray&>(array), i);
      case arrow::Type::DICTIONARY:
        return entry(static_cast<const arrow::DictionaryArray&>(array), i);
      default:
        return number(array, i);
    }
  }

 private:
  json text(std::string_view view) {
    take(view.size());
    if (first_invalid_utf8(view) < view.size()) throw InputError(where_ + ": expected UTF-8, found bytes that are not");
    return std::string(view);
  }

  /// Every element counts, so that a list of nulls is bounded too.
  void take(size_t bytes) {
    bytes_ += bytes + 1;
    if (bytes_ > max_bytes_)
      throw InputError(where_ + ": expected a row of at most " + std::to_string(max_bytes_ >> 20) + " MiB, found a longer one");
  }

  template <class List>
  json list(const List& array, int64_t i) {
    json result = json::array();
    for (int64_t at = array.value_offset(i), end = at + array.value_length(i); at < end; ++at) {
      take(0);
      result.push_back(value(*array.values(), at));
    }
    return result;
  }

  json object(const arrow::StructArray& array, int64_t i) {
    json result = json::object();
    for (int field = 0; field < array.num_fields(); ++field) {
      take(0);
      json member = value(*array.field(field), i);
      if (!member.is_null()) result[array.struct_type()->field(field)->name()] = std::move(member);
    }
    return result;
  }

  json entry(const arrow::DictionaryArray& array, int64_t i) {
    const int64_t index = array.GetValueIndex(i);
    if (index < 0 || index >= array.dictionary()->length()) throw InputError(where_ + ": expected an entry of the dictionary, found none");
    return value(*array.dictionary(), index);
  }

  json number(const arrow::Array& array, int64_t i) {
    switch (array.type_id()) {
      case arrow::Type::INT8:
        return static_cast<const arrow::Int8Array&>(array).Value(i);
      case arrow::Type::INT16:
        return static_cast<const arrow::Int16Array&>(array).Value(i);
      case arrow::Type::INT32:
        return static_cast<const arrow::Int32Array&>(array).Value(i);
      case arrow::Type::INT64:
        return static_cast<const arrow::Int64Array&>(array).Value(i);
      case arrow::Type::UINT8:
        return static_cast<const arrow::UInt8Array&>(array).Value(i);
      case arrow::Type::UINT16:
        return static_cast<const arrow::UInt16Array&>(array).Value(i);
      case arrow::Type::UINT32:
        return static_cast<const arrow::UInt32Array&>(array).Value(i);
      case arrow::Type::UINT64:
        return static_cast<const arrow::UInt64Array&>(array).Value(i);
      case arrow::Type::FLOAT:
        return finite(static_cast<const arrow::FloatArray&>(array).Value(i));
      case arrow::Type::DOUBLE:
        return finite(static_cast<const arrow::DoubleArray&>(array).Value(i));
      default:
        return nullptr;
    }
  }

  static json finite(double value) { return std::isfinite(value) ? json(value) : json(); }

  std::string where_;
  size_t max_bytes_;
  size_t bytes_ = 0;
};

/// Takes the text of a row off what may still be read, also of a bad one: the caller goes on behind it.
struct SpendText {
  const Converter& converter;
  uint64_t& left;
  ~SpendText() { left -= std::min<uint64_t>(left, converter.bytes()); }
};

}  // namespace

struct ParquetReader::Content {
  Content(const std::string& file, size_t row_bytes);
  bool load();
  template <class Work>
  auto guarded(Work work) const;

  std::string path;
  size_t max_row_bytes;
  arrow::CappedMemoryPool pool{arrow::default_memory_pool(), kMaxPoolBytes};
  std::unique_ptr<parquet::arrow::FileReader> reader;
  std::unique_ptr<arrow::RecordBatchReader> batches;
  std::shared_ptr<arrow::RecordBatch> batch;
  int64_t in_batch = 0;
  uint64_t row = 0;
  uint64_t rows = 0;
  uint64_t text_left = 0;
  bool ended = false;
};

/// Arrow reports by Status, Parquet by exceptions.
template <class Work>
auto ParquetReader::Content::guarded(Work work) const {
  try {
    auto result = work();
    if (!result.ok()) refuse(path, result.status().ToString());
    return std::move(result).ValueUnsafe();
  } catch (const InputError&) {
    throw;
  } catch (const std::exception& error) {  // ParquetException, and bad_alloc or length_error of sizes that a damaged file names
    refuse(path, error.what());
  }
}

ParquetReader::Content::Content(const std::string& file, size_t row_bytes) : path(file), max_row_bytes(row_bytes) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) refuse(path, "none");
  const uint64_t size = std::filesystem::file_size(path, ignored);
  if (ignored || size > UINT64_MAX / kMaxExpansion - kFreeText) refuse(path, "none of a size");
  text_left = size * kMaxExpansion + kFreeText;
  parquet::ReaderProperties properties(&pool);
  properties.enable_buffered_stream();
  properties.set_buffer_size(kBufferBytes);
  properties.set_thrift_container_size_limit(kMaxThriftElements);
  properties.set_thrift_string_size_limit(kMaxThriftText);
  parquet::ArrowReaderProperties arrow_properties(/*use_threads=*/false);
  arrow_properties.set_pre_buffer(false);
  arrow_properties.set_batch_size(kBatchRows);
  reader = guarded([&]() -> arrow::Result<std::unique_ptr<parquet::arrow::FileReader>> {
    ARROW_ASSIGN_OR_RAISE(auto input, arrow::io::ReadableFile::Open(path, &pool));
    parquet::arrow::FileReaderBuilder builder;
    ARROW_RETURN_NOT_OK(builder.Open(std::move(input), properties));
    std::unique_ptr<parquet::arrow::FileReader> made;
    ARROW_RETURN_NOT_OK(builder.memory_pool(&pool)->properties(arrow_properties)->Build(&made));
    return made;
  });
  const parquet::FileMetaData& metadata = *reader->parquet_reader()->metadata();
  if (metadata.num_rows() < 0 || metadata.num_rows() > kMaxRows)
    refuse(path, std::to_string(metadata.num_rows()) + " rows (at most " + std::to_string(kMaxRows) + ")");
  rows = static_cast<uint64_t>(metadata.num_rows());
  std::vector<int> leaves, groups;
  for (const parquet::arrow::SchemaField& field : reader->manifest().schema_fields) {
    const std::string& name = field.field->name();
    if (std::find(kColumns.begin(), kColumns.end(), name) == kColumns.end()) continue;
    if (!add_leaves(field, 1, leaves)) refuse(path, "the column " + name + " nested deeper than " + std::to_string(kMaxDepth));
  }
  for (int group = 0; group < reader->num_row_groups(); ++group) groups.push_back(group);
  batches = guarded([&] { return reader->GetRecordBatchReader(groups, leaves); });
}

/// The next batch that is not empty.
bool ParquetReader::Content::load() {
  do {
    batch = guarded([&] { return batches->Next(); });
    in_batch = 0;
  } while (batch != nullptr && batch->num_rows() == 0);
  return batch != nullptr;
}

ParquetReader::ParquetReader(const std::string& path, size_t max_row_bytes) : content_(std::make_unique<Content>(path, max_row_bytes)) {}
ParquetReader::~ParquetReader() = default;

bool ParquetReader::next(json& row) {
  Content& c = *content_;
  if (c.ended) return false;
  if (c.batch == nullptr || c.in_batch == c.batch->num_rows()) {
    c.ended = true;  // also when the next one cannot be read
    if (!c.load()) return false;
    c.ended = false;
  }
  if (c.text_left == 0) {
    c.ended = true;
    refuse(c.path, "more text than " + std::to_string(kMaxExpansion) + " bytes for each of the file");
  }
  ++c.row;
  const int64_t i = c.in_batch++;
  Converter converter(c.path + ": row " + std::to_string(c.row), c.max_row_bytes);
  const SpendText spend{converter, c.text_left};
  row = json::object();
  for (int column = 0; column < c.batch->num_columns(); ++column) {
    json value = converter.value(*c.batch->column(column), i);
    if (!value.is_null()) row[c.batch->column_name(column)] = std::move(value);
  }
  return true;
}

uint64_t ParquetReader::row() const { return content_->row; }
uint64_t ParquetReader::rows() const { return content_->rows; }

bool has_parquet() { return true; }

}  // namespace cohort::data
