#pragma once
/// A folder that came from somewhere else, such as a downloaded model: only what lies inside it is opened.

#include <cstdint>
#include <string>

namespace cohort {

/// Files are named by plain names. What resolves to a place outside the folder, through ".." or a symbolic link, is an InputError, also
/// when it is swapped in meanwhile: the kernel resolves the name beneath the open folder (openat2, RESOLVE_BENEATH). Kernels before 5.6
/// have no such call; there a symbolic link is refused wherever it leads. Everything here blocks.
class Folder {
 public:
  /// InputError when `path` is no folder that can be read. `path` itself may be a symbolic link: it is the user's word.
  explicit Folder(const std::string& path);
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const std::string& path() const { return path_; }
  /// "FOLDER/NAME", for messages.
  std::string place(const std::string& name) const { return path_ + "/" + name; }

  /// Whether there is anything of that name, a dangling symbolic link included.
  bool has(const std::string& name) const;
  /// A descriptor of the regular file of that name, opened for reading; the caller closes it. InputError when there is none.
  int open(const std::string& name) const;
  /// The whole file. InputError also when it is longer than `max_bytes`.
  std::string read(const std::string& name, uint64_t max_bytes) const;

 private:
  std::string path_;
  int descriptor_ = -1;
};

/// Whether `name` can be that of a file directly in a folder: 1 to 255 bytes without '/' and zero bytes, not "." or "..".
bool is_plain_file_name(const std::string& name);

}  // namespace cohort
