#include "core/data/row_reader.h"

#include <filesystem>
#include <optional>

#include "core/base/error.h"
#include "core/base/json.h"
#include "core/base/text_util.h"
#include "core/data/data_files.h"
#include "core/data/parquet.h"
#include "core/text/utf8.h"

namespace cohort::data {
namespace {
constexpr size_t kProblemsShown = 20;
}

struct RowReader::Content {
  std::vector<std::string> files;
  std::vector<uint64_t> sizes;
  size_t max_row_bytes = 0;
  size_t next_file = 0;
  uint64_t bytes_before = 0;  // of the files that are done
  std::optional<LineReader> lines;
  std::optional<ParquetReader> table;
  std::string line;

  const std::string& file() const { return files[next_file - 1]; }
  void open();
  bool next_line(Row& row);
  bool next_of_table(Row& row);
};

void RowReader::Content::open() {
  if (next_file > 0) bytes_before += sizes[next_file - 1];
  lines.reset();
  table.reset();
  const std::string& path = files[next_file++];
  if (is_parquet(path)) {
    table.emplace(path, max_row_bytes);
  } else {
    lines.emplace(path, max_row_bytes);
  }
}

bool RowReader::Content::next_line(Row& row) {
  bool too_long = false;
  while (lines->next(line, too_long)) {
    if (!too_long && text::trim(line).empty()) continue;
    row.where = file() + ":" + std::to_string(lines->line());
    try {
      if (too_long)
        throw InputError(row.where + ": expected a line of at most " + std::to_string(max_row_bytes >> 20) + " MiB, found a longer one");
      row.value = parse_json(line, row.where);
    } catch (const InputError& error) {
      row.problem = error.problems().front();
    }
    return true;
  }
  return false;
}

bool RowReader::Content::next_of_table(Row& row) {
  const uint64_t before = table->row();
  try {
    if (!table->next(row.value)) return false;
  } catch (const InputError& error) {
    if (table->row() == before) throw;  // not a row, but the file
    row.problem = error.problems().front();
  }
  row.where = file() + ": row " + std::to_string(table->row());
  return true;
}

RowReader::RowReader(std::vector<std::string> files, size_t max_row_bytes) : content_(std::make_unique<Content>()) {
  content_->max_row_bytes = max_row_bytes;
  content_->files = std::move(files);
  for (const std::string& file : content_->files) {
    std::error_code ignored;
    const uint64_t size = std::filesystem::file_size(file, ignored);
    content_->sizes.push_back(ignored ? 0 : size);
  }
}

RowReader::~RowReader() = default;

bool RowReader::next(Row& row) {
  Content& c = *content_;
  row.problem.clear();
  while (true) {
    if (c.lines && c.next_line(row)) return true;
    if (c.table && c.next_of_table(row)) return true;
    if (c.next_file == c.files.size()) return false;
    c.open();
  }
}

uint64_t RowReader::bytes_read() const {
  const Content& c = *content_;
  if (c.lines) return c.bytes_before + c.lines->bytes();
  if (!c.table || c.table->rows() == 0) return c.bytes_before;
  const double share = static_cast<double>(c.table->row()) / static_cast<double>(c.table->rows());
  return c.bytes_before + static_cast<uint64_t>(share * static_cast<double>(c.sizes[c.next_file - 1]));
}

uint64_t RowReader::bytes_total() const {
  uint64_t total = 0;
  for (const uint64_t size : content_->sizes) total += size;
  return total;
}

void ExactGuesses::look_at(const nlohmann::json& row, const records::Question& question, const std::string& where) {
  if (is_exact_unasked(row, question) && count++ == 0) first = where + ", data_source \"" + printable(question.source()) + "\"";
}

std::string ExactGuesses::warning() const {
  if (count == 0) return "";
  return "answers to " + std::to_string(count) +
         " rows are compared as exact text, because neither extra_info.verifier nor a known data_source says how; the first is " + first;
}

Rows read_rows(const std::string& path, RowFormat format, bool skip_bad_rows, const RowCheck& wanted) {
  RowReader reader(find_data_files(path));
  Rows rows;
  Row row;
  uint64_t good_rows = 0;
  while (reader.next(row)) {
    try {
      if (!row.problem.empty()) throw InputError(row.problem);
      records::Question question = question_of(row.value, format, row.where);
      const bool keep = !wanted || wanted(question);
      ++good_rows;
      if (!keep) continue;
      rows.guesses.look_at(row.value, question, row.where);
      question.set_id(rows.questions.size());
      rows.questions.push_back(std::move(question));
      rows.places.push_back(row.where);
    } catch (const InputError& error) {
      ++rows.bad_rows;
      const std::string& text = error.problems().front();
      if (rows.problems.size() < kProblemsShown) rows.problems.push_back(text.starts_with(row.where) ? text : row.where + ": " + text);
    }
  }
  if (rows.bad_rows > 0 && (!skip_bad_rows || good_rows == 0)) {
    std::vector<std::string> problems = rows.problems;
    if (rows.bad_rows > problems.size())
      problems.push_back(path + ": … and " + std::to_string(rows.bad_rows - problems.size()) + " more bad rows");
    throw InputError(problems);
  }
  if (good_rows == 0) throw InputError(path + ": expected at least one row, found none");
  return rows;
}

}  // namespace cohort::data
