#pragma once
/// What commands show, and the files that they write line by line.

#include <optional>
#include <string>
#include <string_view>

#include "core/base/file.h"

namespace cohort::launcher {

/// What a model or a row says must not speak to the terminal: control characters other than newline and tab, also those of 8 bits (U+0080
/// to U+009F), are shown as "?".
std::string for_screen(std::string_view text);

/// Lines as they come: on standard output, or in a file that takes its name once it is whole.
class LineWriter {
 public:
  /// "" is standard output. InputError when no file can be put at `path`. Until finish() it is PATH.tmp.
  explicit LineWriter(const std::string& path);
  ~LineWriter();  ///< nothing is left of what was not finished
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;

  /// `line` with its newline. Fault when it cannot be written.
  void write(std::string_view line);
  void finish();

 private:
  std::string path_;
  std::optional<FileWriter> file_;
};

}  // namespace cohort::launcher
