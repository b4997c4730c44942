#include "core/base/log.h"

#include <catch2/catch.hpp>

#include "core/base/file.h"
#include "tests/core/base/temp_dir.h"

namespace cohort {
namespace {

using Catch::Matchers::Contains;

TEST_CASE("each rank has its log file, written as lines come") {
  const TempDir dir;
  init_log(dir.path(), 3, 4);  // rank 3 keeps quiet on the terminal
  log_info("step {} of {}", 1, 2);
  log_line(LogLevel::kWarn, "braces {} stay as they are");
  log_to_file("only here");
  const std::string text = read_file(dir / "log/rank-3.log", 1 << 16);
  CHECK_THAT(text, Contains("info step 1 of 2\n") && Contains("warning braces {} stay as they are\n") && Contains("info only here\n"));
  init_log("", 0, 1);
  log_to_file("nowhere");
  CHECK(read_file(dir / "log/rank-3.log", 1 << 16) == text);
}

}  // namespace
}  // namespace cohort
