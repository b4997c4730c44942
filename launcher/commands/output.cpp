#include "launcher/commands/output.h"

#include <cstdio>
#include <filesystem>

#include "core/base/error.h"

namespace cohort::launcher {

std::string for_screen(std::string text) {
  for (char& c : text)
    if ((static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') || c == 0x7f) c = '?';
  return text;
}

LineWriter::LineWriter(const std::string& path) : path_(path) {
  if (path.empty()) return;
  require_writable_place(path);
  file_.emplace(path + ".tmp", FileWriter::Existing::kReplace, false);
}

LineWriter::~LineWriter() {
  std::error_code ignored;
  if (file_) std::filesystem::remove(path_ + ".tmp", ignored);
}

void LineWriter::write(std::string_view line) {
  if (file_) return file_->write(line);
  if (std::fwrite(line.data(), 1, line.size(), stdout) != line.size()) throw Fault("standard output: cannot be written");
}

void LineWriter::finish() {
  if (!file_) {
    if (std::fflush(stdout) != 0) throw Fault("standard output: cannot be written");
    return;
  }
  file_->close();
  rename_durable(path_ + ".tmp", path_);
  file_.reset();
}

}  // namespace cohort::launcher
