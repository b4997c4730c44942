#include "core/base/folder.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "core/base/error.h"
#include "core/base/text_util.h"

namespace cohort {
namespace {

std::string system_message(int error) { return std::generic_category().message(error); }

/// The user's folder is right and the machine is not: worth another try later.
bool is_machine_trouble(int error) { return error == EIO || error == ESTALE || error == EMFILE || error == ENFILE || error == ENOMEM; }

[[noreturn]] void fail(const std::string& path, int error) {
  const bool leads_out = error == EXDEV || error == ELOOP;
  const std::string found = leads_out ? "a symbolic link that leads out of it (copy the folder with cp -rL)" : system_message(error);
  if (is_machine_trouble(error)) throw Fault(fmt::format("{}: open failed: {}", printable(path, 400), found));
  throw InputError(fmt::format("{}: expected a readable file inside the folder, found: {}", printable(path, 400), found));
}

// O_NONBLOCK: opening a pipe must not wait for its other end; it is refused as not a regular file.
constexpr int kFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;

int open_beneath(int folder, const char* name) {
  open_how how{};
  how.flags = kFlags, how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  const auto descriptor = static_cast<int>(::syscall(SYS_openat2, folder, name, &how, sizeof how));
  // EPERM: sandboxes that do not know the call say so.
  if (descriptor >= 0 || (errno != ENOSYS && errno != EPERM)) return descriptor;
  return ::openat(folder, name, kFlags | O_NOFOLLOW);
}

}  // namespace

bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

Folder::Folder(const std::string& path) : path_(path) {
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY);
  if (descriptor_ >= 0) return;
  if (is_machine_trouble(errno)) fail(path, errno);
  throw InputError(fmt::format("{}: expected a folder, found: {}", printable(path, 400), system_message(errno)));
}

Folder::~Folder() { ::close(descriptor_); }

bool Folder::has(const std::string& name) const {
  struct stat info {};
  return is_plain_file_name(name) && ::fstatat(descriptor_, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0;
}

int Folder::open(const std::string& name) const {
  if (!is_plain_file_name(name))
    throw InputError(fmt::format("{}: expected the plain name of a file in this folder, found \"{}\"", path_, printable(name)));
  const int descriptor = open_beneath(descriptor_, name.c_str());
  if (descriptor < 0) fail(place(name), errno);
  struct stat info {};
  if (::fstat(descriptor, &info) == 0 && S_ISREG(info.st_mode)) return descriptor;
  ::close(descriptor);
  throw InputError(fmt::format("{}: expected a regular file, found another kind", printable(place(name), 400)));
}

std::string Folder::read(const std::string& name, uint64_t max_bytes) const {
  const int descriptor = open(name);
  std::string bytes;
  ssize_t got = 0;
  int error = 0;
  char buffer[1 << 16];
  while (bytes.size() <= max_bytes) {
    got = ::read(descriptor, buffer, sizeof buffer);
    error = errno;
    if (got < 0 && error == EINTR) continue;
    if (got <= 0) break;
    bytes.append(buffer, static_cast<size_t>(got));
  }
  ::close(descriptor);
  if (got < 0) fail(place(name), error);
  if (bytes.size() > max_bytes)
    throw InputError(fmt::format("{}: expected at most {} bytes, found more", printable(place(name), 400), max_bytes));
  return bytes;
}

}  // namespace cohort
