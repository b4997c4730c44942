#include "core/base/file.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>

#include "core/base/error.h"
#include "tests/core/base/temp_dir.h"

namespace cohort {
namespace {

using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;
namespace fs = std::filesystem;

template <class Error, class Call>
std::string message_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST_CASE("a file is written whole and read back") {
  const TempDir dir;
  const std::string bytes("zero\0byte\n", 10);
  write_file_atomic(dir / "a", bytes);
  CHECK(read_file(dir / "a", 10) == bytes);
  write_file_atomic(dir / "a", "");
  CHECK(read_file(dir / "a", 0).empty());
  CHECK_FALSE(fs::exists(dir / "a.tmp"));
}

TEST_CASE("reading refuses what is not a file of the expected size") {
  const TempDir dir;
  write_file_atomic(dir / "a", "12345");
  REQUIRE(mkfifo((dir / "pipe").c_str(), 0600) == 0);
  CHECK_THAT(message_of<InputError>([&] { read_file(dir / "a", 4); }), StartsWith(dir / "a") && Contains("at most 4 bytes, found 5"));
  CHECK_THAT(message_of<InputError>([&] { read_file(dir / "missing", 4); }), Contains("missing: expected a readable file"));
  CHECK_THAT(message_of<InputError>([&] { read_file(dir.path(), 4); }), Contains("found a folder"));
  CHECK_THAT(message_of<InputError>([&] { read_file(dir / "pipe", 4); }), Contains("found a special file"));
  CHECK_THAT(message_of<InputError>([&] { read_file("/proc/self/maps", 4); }), Contains("at most 4 bytes"));
}

TEST_CASE("atomic writing replaces what a killed writer left and refuses links and folders") {
  const TempDir dir;
  write_file_atomic(dir / "a.tmp", "half a fi");
  write_file_atomic(dir / "a", "whole");
  CHECK(read_file(dir / "a", 10) == "whole");
  CHECK_FALSE(fs::exists(dir / "a.tmp"));

  fs::create_symlink(dir / "a", dir / "link");
  CHECK_THAT(message_of<InputError>([&] { write_file_atomic(dir / "link", "x"); }), Contains("found a symbolic link"));
  CHECK(read_file(dir / "a", 10) == "whole");
  CHECK_THAT(message_of<InputError>([&] { write_file_atomic(dir.path(), "x"); }), Contains("found a folder"));

  // A link where the temporary file goes must not be written through.
  fs::create_symlink(dir / "a", dir / "b.tmp");
  write_file_atomic(dir / "b", "other");
  CHECK(read_file(dir / "a", 10) == "whole");
}

TEST_CASE("a failing machine is a Fault that names the path") {
  const TempDir dir;
  CHECK_THAT(message_of<Fault>([&] { write_file_atomic(dir / "no/such/folder", "x"); }), Contains("no/such/folder"));
  CHECK_THAT(message_of<Fault>([&] {
               FileWriter full("/dev/full");
               full.write("x");
             }),
             StartsWith("/dev/full: write failed: No space left"));
  CHECK_THAT(message_of<Fault>([&] { truncate_file(dir / "missing", 0); }), Contains("missing"));
  CHECK_THAT(message_of<Fault>([&] { fsync_directory(dir / "missing"); }), Contains("missing"));
  CHECK_THAT(message_of<Fault>([&] { rename_durable(dir / "missing", dir / "b"); }), Contains("rename failed"));
}

TEST_CASE("files are cut, folders made, both renamed") {
  const TempDir dir;
  write_file_atomic(dir / "a", "12345");
  truncate_file(dir / "a", 2);
  CHECK(read_file(dir / "a", 9) == "12");
  CHECK_THAT(message_of<Fault>([&] { truncate_file(dir / "a", 3); }), Contains("expected at least 3 bytes, found 2"));
  make_directories(dir / "x/y/z");
  make_directories(dir / "x/y/z");
  rename_durable(dir / "x/y", dir / "moved");
  CHECK(fs::is_directory(dir / "moved/z"));
  CHECK_THAT(message_of<InputError>([&] { make_directories(dir / "a/b"); }), StartsWith(dir / "a/b"));
  CHECK_THAT(message_of<InputError>([&] { make_directories(dir / "a"); }), StartsWith(dir / "a"));
}

TEST_CASE("a large file is hashed while it is written") {
  const TempDir dir;
  FileWriter writer(dir / "a");
  std::string all;
  for (int i = 0; i < 1000; ++i) {
    const std::string piece = std::to_string(i);
    writer.write(piece);
    all += piece;
  }
  CHECK(writer.bytes() == all.size());
  CHECK(writer.close() == xxh3_128_hex(all));
  CHECK(read_file(dir / "a", 1 << 20) == all);
  CHECK_THROWS_AS(writer.write("x"), Fault);
  CHECK_THROWS_AS(writer.close(), Fault);
  FileWriter plain(dir / "b", FileWriter::Existing::kRefuse, false);
  plain.write(all);
  CHECK(plain.close().empty());
  CHECK(read_file(dir / "b", 1 << 20) == all);
}

TEST_CASE("a writer of a new file replaces nothing; parts of a file are read exactly; neither follows a link") {
  const TempDir dir;
  write_file_atomic(dir / "a", "0123456789");
  CHECK_THAT(message_of<Fault>([&] { FileWriter(dir / "a", FileWriter::Existing::kRefuse); }), Contains("File exists"));
  fs::create_symlink(dir / "a", dir / "link");
  fs::create_symlink(dir / "nothing", dir / "dangling");
  CHECK_THAT(message_of<Fault>([&] { FileWriter(dir / "link"); }), Contains("create failed"));
  CHECK_THAT(message_of<Fault>([&] { FileWriter(dir / "dangling", FileWriter::Existing::kRefuse); }), Contains("File exists"));
  CHECK_FALSE(fs::exists(dir / "nothing"));
  const FileReader file(dir / "a");
  CHECK(file.size() == 10);
  std::string part(4, '\0');
  file.read(6, 4, part.data());
  CHECK(part == "6789");
  CHECK_THAT(message_of<InputError>([&] { file.read(7, 4, part.data()); }), Contains("the end of the file"));
  CHECK_THAT(message_of<InputError>([&] { FileReader(dir / "link"); }), Contains("a symbolic link"));
  CHECK_THAT(message_of<InputError>([&] { FileReader(dir / "none"); }), Contains("No such file"));
  CHECK_THAT(message_of<InputError>([&] { FileReader{dir.path()}; }), Contains("found a folder"));
}

TEST_CASE("a second process that wants the run folder learns who has it") {
  const TempDir dir;
  {
    const RunLock lock(dir / "lock");
    const std::string pid = "pid " + std::to_string(getpid());
    // flock belongs to the open file, so a second attempt in this process conflicts as another process would.
    CHECK_THAT(message_of<InputError>([&] { RunLock second(dir / "lock"); }), Contains("held by") && Contains(pid));
  }
  CHECK(message_of<InputError>([&] { RunLock again(dir / "lock"); }) == "no error");

  const pid_t child = fork();
  if (child == 0) {
    new RunLock(dir / "lock");
    _exit(0);  // dies without releasing
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WEXITSTATUS(status) == 0);
  CHECK(message_of<InputError>([&] { RunLock after_death(dir / "lock"); }) == "no error");
}

TEST_CASE("a run folder that cannot be locked for writing is the user's to mend") {
  const TempDir dir;
  CHECK_THAT(message_of<InputError>([&] { RunLock lock(dir / "nowhere/lock"); }), Contains("can be written"));
  std::filesystem::create_symlink("/dev/null", dir / "lock");
  CHECK_THAT(message_of<InputError>([&] { RunLock lock(dir / "lock"); }), Contains("symbolic link"));
}

}  // namespace
}  // namespace cohort
