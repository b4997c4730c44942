#include "core/data/jsonl.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/json.h"

namespace cohort::data {

LineReader::LineReader(const std::string& path, size_t max_line_bytes) : path_(path), max_line_bytes_(max_line_bytes) {
  std::error_code ignored;
  if (std::filesystem::is_regular_file(path, ignored)) file_.open(path, std::ios::binary);  // opening a pipe would wait for its writer
  if (!file_.is_open()) throw InputError(path + ": expected a readable JSONL file, found none");
}

bool LineReader::next(std::string& line, bool& too_long) try {
  line.clear();
  too_long = false;
  bool any = false;
  std::streambuf& bytes = *file_.rdbuf();
  for (int byte = bytes.sbumpc(); byte != std::char_traits<char>::eof(); byte = bytes.sbumpc()) {
    any = true;
    ++bytes_;
    if (byte == '\n') break;
    if (line.size() < max_line_bytes_) {
      line.push_back(static_cast<char>(byte));
    } else {
      too_long = true;
    }
  }
  if (line.ends_with('\r')) line.pop_back();
  if (any && ++line_ == 1 && line.starts_with("\xEF\xBB\xBF")) line.erase(0, 3);
  return any;
} catch (const std::ios_base::failure&) {
  throw Fault(path_ + ": cannot be read to its end");
}

records::Question parse_row(std::string_view line, RowFormat format, const std::string& where) {
  return question_of(parse_json(line, where), format, where);
}

}  // namespace cohort::data
