#include "launcher/commands/output.h"

#include <catch2/catch.hpp>
#include <filesystem>

#include "tests/core/base/temp_dir.h"

using namespace cohort;
using namespace cohort::launcher;

TEST_CASE("text for the screen has no control characters but newline and tab") {
  CHECK(for_screen("a\x1b[31m\tb\n\x7f\r\u00e9") == "a?[31m\tb\n??\u00e9");
  CHECK(for_screen("\u0085\u009b31m\u00a0") == "??31m\u00a0");
  CHECK(for_screen(std::string("\x9b"
                               "31m\xff\0z",
                               7)) == "?31m\xff?z");
}

TEST_CASE("a file of lines is there once it is whole") {
  const TempDir folder;
  const std::string path = folder / "lines.jsonl";
  {
    LineWriter unfinished(path);
    unfinished.write("1\n");
  }
  CHECK(std::filesystem::is_empty(folder.path()));
  LineWriter lines(path);
  lines.write("1\n");
  lines.write("2\n");
  CHECK_FALSE(std::filesystem::exists(path));
  lines.finish();
  CHECK(read_file(path, 100) == "1\n2\n");
  CHECK_FALSE(std::filesystem::exists(path + ".tmp"));
}
