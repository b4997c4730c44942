#include "core/base/file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <system_error>
#include <utility>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/text_util.h"

namespace cohort {

namespace {

std::string system_message(int error) { return std::generic_category().message(error); }

[[noreturn]] void fail(const std::string& path, const char* what, int error) {
  throw Fault(fmt::format("{}: {} failed: {}", path, what, system_message(error)));
}

/// Not for want of a right path: what was asked for could have worked, and may work later.
bool is_disk_trouble(int error) {
  return error == ENOSPC || error == EDQUOT || error == EIO || error == ESTALE || error == EMFILE || error == ENFILE;
}

/// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int get() const { return value_; }
  int release() { return std::exchange(value_, -1); }

 private:
  int value_;
};

Descriptor open_or_fail(const std::string& path, int flags, const char* what = "open") {
  const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC, 0644);
  if (descriptor < 0) fail(path, what, errno);
  return Descriptor(descriptor);
}

void write_all(int descriptor, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail(path, "write", written < 0 ? errno : EIO);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

void sync_or_fail(int descriptor, const std::string& path) {
  if (::fsync(descriptor) != 0) fail(path, "fsync", errno);
}

void close_or_fail(Descriptor& descriptor, const std::string& path) {
  if (::close(descriptor.release()) != 0) fail(path, "close", errno);
}

std::string parent_of(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

std::string read_up_to(int descriptor, uint64_t expected, uint64_t max_bytes, const std::string& path) {
  std::string bytes;
  bytes.reserve(expected);
  char buffer[1 << 16];
  while (true) {
    const ssize_t got = ::read(descriptor, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(path, "read", errno);
    if (got == 0) return bytes;
    bytes.append(buffer, static_cast<size_t>(got));
    if (bytes.size() > max_bytes) throw InputError(fmt::format("{}: expected at most {} bytes, found more", path, max_bytes));
  }
}

/// "host pid 123 since 2025-01-31 12:00:00".
std::string describe_this_process() {
  char host[256] = {};
  if (::gethostname(host, sizeof host - 1) != 0) fail("the host's name", "gethostname", errno);
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  localtime_r(&now, &parts);
  char when[32];
  std::strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &parts);
  return fmt::format("{} pid {} since {}", host, ::getpid(), when);
}

}  // namespace

std::string read_file(const std::string& path, uint64_t max_bytes) {
  // Without O_NONBLOCK, opening a named pipe would wait for its other end.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) {
    if (is_disk_trouble(errno)) fail(path, "open", errno);
    throw InputError(fmt::format("{}: expected a readable file, found: {}", path, system_message(errno)));
  }
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) fail(path, "stat", errno);
  if (!S_ISREG(info.st_mode))
    throw InputError(path + ": expected a file, found " + (S_ISDIR(info.st_mode) ? "a folder" : "a special file"));
  const auto size = static_cast<uint64_t>(info.st_size);
  if (size > max_bytes) throw InputError(fmt::format("{}: expected at most {} bytes, found {}", path, max_bytes, size));
  return read_up_to(file.get(), size, max_bytes, path);
}

void write_file_atomic(const std::string& path, std::string_view bytes) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    const char* found = S_ISLNK(info.st_mode) ? "a symbolic link" : S_ISDIR(info.st_mode) ? "a folder" : "a special file";
    throw InputError(fmt::format("{}: expected a file to replace or nothing, found {}", path, found));
  }
  // The name is always the same, so that what a killed process left is replaced and never piles up.
  const std::string temporary = path + ".tmp";
  if (::unlink(temporary.c_str()) != 0 && errno != ENOENT) fail(temporary, "unlink", errno);
  try {
    Descriptor file = open_or_fail(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, "create");
    write_all(file.get(), bytes, temporary);
    sync_or_fail(file.get(), temporary);
    close_or_fail(file, temporary);
    rename_durable(temporary, path);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
}

void require_writable_place(const std::string& path) {
  std::error_code none;
  if (std::filesystem::is_directory(path, none)) throw InputError(path + ": expected a file to write, found a folder");
  const std::string parent = parent_of(path);
  if (!std::filesystem::is_directory(parent, none)) throw InputError(path + ": expected a folder to write into, found no " + parent);
  if (::access(parent.c_str(), W_OK | X_OK) != 0) throw InputError(fmt::format("{}: cannot be written: {}", path, system_message(errno)));
}

void fsync_file(const std::string& path) { sync_or_fail(open_or_fail(path, O_RDONLY).get(), path); }

void fsync_directory(const std::string& path) { sync_or_fail(open_or_fail(path, O_RDONLY | O_DIRECTORY).get(), path); }

void rename_durable(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) fail(to, "rename", errno);
  const std::string source = parent_of(from);
  const std::string target = parent_of(to);
  fsync_directory(target);
  if (source != target) fsync_directory(source);
}

void make_directories(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (is_disk_trouble(error.value())) fail(path, "mkdir", error.value());
  if (error) throw InputError(fmt::format("{}: expected a folder that can be created, found: {}", path, error.message()));
  if (!std::filesystem::is_directory(path)) throw InputError(path + ": expected a folder, found something else");
}

void truncate_file(const std::string& path, uint64_t bytes) {
  const Descriptor file = open_or_fail(path, O_WRONLY);
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) fail(path, "stat", errno);
  if (static_cast<uint64_t>(info.st_size) < bytes) {
    throw Fault(fmt::format("{}: expected at least {} bytes, found {}", path, bytes, info.st_size));
  }
  if (::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0) fail(path, "truncate", errno);
  sync_or_fail(file.get(), path);
}

FileWriter::FileWriter(const std::string& path, Existing existing, bool hashes) : path_(path), hashes_(hashes) {
  const int there = existing == Existing::kReplace ? O_TRUNC : O_EXCL;
  descriptor_ = open_or_fail(path, O_WRONLY | O_CREAT | O_NOFOLLOW | there, "create").release();
}

FileWriter::~FileWriter() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void FileWriter::write(std::string_view bytes) {
  if (descriptor_ < 0) throw Fault(path_ + ": written to after it was closed");
  write_all(descriptor_, bytes, path_);
  if (hashes_) hasher_.update(bytes);
  bytes_ += bytes.size();
}

std::string FileWriter::close() {
  if (descriptor_ < 0) throw Fault(path_ + ": closed twice");
  Descriptor file(std::exchange(descriptor_, -1));  // a failed fsync is never tried again: the next one would say that all is well
  sync_or_fail(file.get(), path_);
  close_or_fail(file, path_);
  return hashes_ ? hasher_.hex() : "";
}

FileReader::FileReader(const std::string& path) : path_(path) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW));
  if (file.get() < 0) {
    if (is_disk_trouble(errno)) fail(path, "open", errno);
    const std::string found = errno == ELOOP ? "a symbolic link" : system_message(errno);
    throw InputError(fmt::format("{}: expected a readable file, found: {}", path, found));
  }
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) fail(path, "stat", errno);
  if (!S_ISREG(info.st_mode))
    throw InputError(path + ": expected a file, found " + (S_ISDIR(info.st_mode) ? "a folder" : "a special file"));
  size_ = static_cast<uint64_t>(info.st_size);
  descriptor_ = file.release();
}

FileReader::~FileReader() { ::close(descriptor_); }

void FileReader::read(uint64_t offset, uint64_t count, char* out) const {
  while (count > 0) {
    const ssize_t got = ::pread(descriptor_, out, count, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(path_, "read", errno);
    if (got == 0) throw InputError(fmt::format("{}: expected {} bytes more from byte {}, found the end of the file", path_, count, offset));
    const auto read = static_cast<uint64_t>(got);
    out += read, offset += read, count -= read;
  }
}

namespace {

/// Opened for writing: over NFS an exclusive lock needs that.
Descriptor open_lock(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (descriptor >= 0) return Descriptor(descriptor);
  const int error = errno;
  if (is_disk_trouble(error)) fail(path, "create", error);
  const std::string found = error == ELOOP ? "a symbolic link in place of this file" : system_message(error);
  throw InputError(fmt::format("{}: expected a run folder that can be written, found: {}", path, found));
}

[[noreturn]] void refuse_held(int descriptor, const std::string& path) {
  char holder[512] = {};
  const ssize_t got = ::pread(descriptor, holder, sizeof holder - 1, 0);
  const std::string name = printable(std::string_view(holder, got > 0 ? static_cast<size_t>(got) : 0), 400);
  throw InputError(fmt::format("{}: expected a run folder that no other process works in, found it held by {}", path,
                               name.empty() ? "a process that has not written its name yet" : name));
}

bool has_no_locks(int error) { return error == ENOSYS || error == EOPNOTSUPP || error == ENOLCK; }

}  // namespace

RunLock::RunLock(const std::string& path) {
  Descriptor file = open_lock(path);
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) refuse_held(file.get(), path);
    if (!has_no_locks(errno)) fail(path, "lock", errno);
    log_warn("{}: this file system has no locks ({}): nothing keeps a second job out of this run folder", path, system_message(errno));
    return;
  }
  // The file stays when the lock goes: removing it would let two processes lock two different files of this name.
  if (::ftruncate(file.get(), 0) != 0) fail(path, "truncate", errno);
  write_all(file.get(), describe_this_process(), path);
  descriptor_ = file.release();
}

RunLock::~RunLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace cohort
