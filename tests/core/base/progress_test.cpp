#include "core/base/progress.h"

#include <algorithm>
#include <catch2/catch.hpp>

namespace cohort {
namespace {

using Catch::Matchers::Contains;

/// What a Progress wrote to a stream of its own.
template <class Use>
std::string output_of(bool terminal, double line_seconds, bool visible, Use use) {
  char* text = nullptr;
  size_t size = 0;
  std::FILE* out = open_memstream(&text, &size);
  {
    Progress progress("zero", 50, visible, line_seconds, out, terminal);
    use(progress);
  }
  std::fclose(out);
  std::string written(text, size);
  free(text);
  return written;
}

void fifty_steps(Progress& progress) {
  for (int64_t step = 1; step <= 50; ++step) progress.update(step, "reward " + std::to_string(step));
}

TEST_CASE("a log gets the first and the last step when the time between lines is long") {
  const std::string text = output_of(false, 3600.0, true, fifty_steps);
  CHECK(std::count(text.begin(), text.end(), '\n') == 2);
  CHECK_THAT(text, Contains("zero  1/50") && Contains("zero  50/50") && Contains("reward 50"));
  CHECK_THAT(text, !Contains("\r") && !Contains("\033"));
}

TEST_CASE("a log gets every step when the time between lines is zero") {
  const std::string text = output_of(false, 0.0, true, fifty_steps);
  CHECK(std::count(text.begin(), text.end(), '\n') == 50);
}

TEST_CASE("a terminal gets a bar that is not redrawn for every step") {
  const std::string text = output_of(true, 0.0, true, fifty_steps);
  CHECK(std::count(text.begin(), text.end(), '\r') < 25);
  CHECK(std::count(text.begin(), text.end(), '\n') == 1);
  CHECK_THAT(text, Contains("50/50") && Contains("█") && Contains("reward 50"));
}

TEST_CASE("an invisible progress writes nothing") { CHECK(output_of(true, 0.0, false, fifty_steps).empty()); }

TEST_CASE("steps done before a resume do not count in the rate") {
  const std::string text = output_of(false, 0.0, true, [](Progress& progress) {
    progress.start_at(40);
    progress.update(40);
  });
  CHECK(text == "zero  40/50\n");
}

TEST_CASE("durations are written for people") {
  CHECK(format_duration(0.2) == "0s");
  CHECK(format_duration(59.6) == "1m 00s");
  CHECK(format_duration(185) == "3m 05s");
  CHECK(format_duration(7620) == "2h 07m");
}

}  // namespace
}  // namespace cohort
