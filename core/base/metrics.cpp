#include "core/base/metrics.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <system_error>

#include "core/base/error.h"

namespace cohort {

namespace {

[[noreturn]] void fail(const std::string& path, const char* what) {
  throw Fault(fmt::format("{}: {} failed: {}", path, what, std::generic_category().message(errno)));
}

// Lines are written by hand: numbers in their shortest form (1, not 1.0) and keys as they come, so that files of metrics keep their bytes.

void append_text(std::string& line, std::string_view text) {
  line += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      line += '\\';
      line += c;
    } else if (byte < 0x20) {
      line += fmt::format("\\u{:04x}", byte);
    } else {
      line += c;
    }
  }
  line += '"';
}

void append_number(std::string& line, double value) {
  if (!std::isfinite(value)) {
    line += "null";
    return;
  }
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, value);
  line.append(buffer, result.ptr);
}

}  // namespace

double& Metrics::operator[](std::string_view name) {
  for (Entry& entry : entries_) {
    if (entry.first == name) return entry.second;
  }
  return entries_.emplace_back(name, 0.0).second;
}

const double* Metrics::find(std::string_view name) const {
  for (const Entry& entry : entries_) {
    if (entry.first == name) return &entry.second;
  }
  return nullptr;
}

std::string metrics_line(std::string_view stage, int64_t step, const Metrics& metrics) {
  std::string line = "{\"stage\":";
  append_text(line, stage);
  line += fmt::format(",\"step\":{}", step);
  for (const auto& [name, value] : metrics) {
    line += ',';
    append_text(line, name);
    line += ':';
    append_number(line, value);
  }
  return line + "}";
}

MetricsWriter::MetricsWriter(const std::string& path, std::optional<uint64_t> keep_bytes) : path_(path) {
  descriptor_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (descriptor_ < 0) fail(path_, "open");
  const off_t size = ::lseek(descriptor_, 0, SEEK_END);
  bytes_ = static_cast<uint64_t>(size);
  if (keep_bytes && bytes_ < *keep_bytes) {
    ::close(descriptor_);
    throw Fault(fmt::format("{}: expected at least {} bytes, found {}", path_, *keep_bytes, bytes_));
  }
  if (keep_bytes) {
    bytes_ = *keep_bytes;
    if (::ftruncate(descriptor_, static_cast<off_t>(bytes_)) != 0) {
      ::close(descriptor_);
      fail(path_, "truncate");
    }
  }
}

MetricsWriter::~MetricsWriter() { ::close(descriptor_); }

void MetricsWriter::write(std::string_view stage, int64_t step, const Metrics& metrics) { write_line(metrics_line(stage, step, metrics)); }

void MetricsWriter::write_line(std::string_view line) {
  std::string bytes(line);
  bytes += '\n';
  for (std::string_view rest = bytes; !rest.empty();) {
    const ssize_t written = ::write(descriptor_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(path_, "write");
    rest.remove_prefix(static_cast<size_t>(written));
    bytes_ += static_cast<uint64_t>(written);
  }
}

void MetricsWriter::sync() {
  if (::fsync(descriptor_) != 0) fail(path_, "fsync");
}

}  // namespace cohort
