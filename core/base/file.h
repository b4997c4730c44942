#pragma once
/// Files: reading with a limit, durable atomic writing, locking.
///
/// Everything here blocks. A path the user named that cannot be read is an InputError; a disk that is full or failing (ENOSPC, EIO, …)
/// while we write is a Fault that names the path. The commit order (bytes, fsync, rename, fsync of the folder) is what makes a kill at
/// any moment leave either the old file or the new one (Pillai et al., "All File Systems Are Not Created Equal", OSDI'14).

#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/hash.h"

namespace cohort {

/// The whole file. InputError when it is missing, unreadable, not a regular file or longer than `max_bytes`.
std::string read_file(const std::string& path, uint64_t max_bytes);

/// Replaces `path` by `bytes`: temporary file PATH.tmp beside it, fsync, rename, fsync of the folder. A symbolic link at `path` is refused
/// (InputError): renaming over it would detach whatever it shares.
void write_file_atomic(const std::string& path, std::string_view bytes);

/// For a result that takes long to make: InputError now when write_file_atomic could not put a file there, as far as permissions tell.
void require_writable_place(const std::string& path);

/// Makes the contents of an existing file (or the entries of a folder) durable.
void fsync_file(const std::string& path);
void fsync_directory(const std::string& path);

/// Renames a file or a folder and makes the rename durable. Replaces a file at `to`; `to` may not be a non-empty folder.
void rename_durable(const std::string& from, const std::string& to);

/// Creates the folder and its parents where missing. InputError when something else is in the way.
void make_directories(const std::string& path);

/// Cuts an existing file to `bytes` and makes that durable. Fault when the file is shorter.
void truncate_file(const std::string& path, uint64_t bytes);

/// Writes a large file piece by piece, hashing as it goes where that is asked for. The file is complete only after close(); without it the
/// destructor leaves a partial file behind, so write into a folder that is renamed into place once everything in it is closed.
class FileWriter {
 public:
  enum class Existing { kReplace, kRefuse };
  /// Creates the file; one that is there is emptied, or is a Fault. A symbolic link is never followed.
  explicit FileWriter(const std::string& path, Existing existing = Existing::kReplace, bool hashes = true);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void write(std::string_view bytes);
  uint64_t bytes() const { return bytes_; }  ///< written so far
  /// fsync and close; returns the XXH3-128 of everything written, 32 hex digits; "" where it does not hash.
  std::string close();

 private:
  std::string path_;
  int descriptor_ = -1;
  uint64_t bytes_ = 0;
  bool hashes_;
  Hasher hasher_;
};

/// A file to read parts of. The path's last name may not be a symbolic link. InputError when it is one, or missing, or no regular file.
class FileReader {
 public:
  explicit FileReader(const std::string& path);
  ~FileReader();
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;

  uint64_t size() const { return size_; }  ///< when it was opened
  /// Exactly `count` bytes from `offset`. InputError when the file ends before.
  void read(uint64_t offset, uint64_t count, char* out) const;

 private:
  std::string path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

/// Held while a process works in a run folder; released by the destructor or by the death of the process (flock: across the hosts of an NFS
/// mount too, where the server notices the death of a whole host after its lease time). Not blocking: when another process holds it,
/// InputError names that process (host, pid, start time), as it does for a folder that cannot be written. Where the file system has no
/// locks, says so in the log and holds nothing.
class RunLock {
 public:
  explicit RunLock(const std::string& path);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace cohort
