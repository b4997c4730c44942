#include "launcher/commands/output.h"

#include <cstdio>
#include <filesystem>

#include "core/base/error.h"
#include "core/base/utf8.h"

namespace cohort::launcher {

std::string for_screen(std::string_view text) {
  std::string shown;
  for (size_t i = 0; i < text.size();) {
    const Character c = character_at(text, i);
    const bool control = (c.code < 0x20 && c.code != '\n' && c.code != '\t') || (c.code >= 0x7F && c.code < 0xA0);
    shown += control ? "?" : text.substr(i, c.length);
    i += c.length;
  }
  return shown;
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
