#include <catch2/catch.hpp>

#include "distributed/control/channel.h"
#include "distributed/control/pulse.h"

using namespace cohort::control;

namespace {

std::vector<std::string> words(Pulse& pulse, double now) {
  std::vector<std::string> lines;
  for (const Finding& f : pulse.look(now)) lines.push_back(f.words());
  return lines;
}

using Lines = std::vector<std::string>;

}  // namespace

TEST_CASE("a silent rank is late once, then lost once, by name and with what it was doing", "[control]") {
  Pulse pulse(20.0, 5.0);
  pulse.joined({1, "a", 17, "starting"}, 100.0);
  pulse.joined({2, "b", 18, "starting"}, 100.0);
  pulse.heard(1, "stage rl, 3 steps done, sum \"tensor\" #9", 102.0);
  for (double t = 102.0; t < 125.0; t += 0.5) pulse.heard(2, "busy", t);
  CHECK(words(pulse, 111.5).empty());
  CHECK(words(pulse, 112.0) == Lines{"straggler: rank 1 (host a, pid 17) has been silent for 10.0 s, last known at stage rl, 3 steps done, "
                                     "sum \"tensor\" #9"});
  CHECK(words(pulse, 121.9).empty());
  CHECK(words(pulse, 122.0) == Lines{"lost: rank 1 (host a, pid 17) was last heard 20.0 s ago, last known at stage rl, 3 steps done, sum "
                                     "\"tensor\" #9; the job ends"});
  CHECK(words(pulse, 130.0).empty());
}

TEST_CASE("a rank that is back in time is said to be back, and may be late again", "[control]") {
  Pulse pulse(20.0, 5.0);
  pulse.joined({1, "a", 17, "x"}, 0.0);
  CHECK(words(pulse, 10.0).size() == 1);
  pulse.heard(1, "y", 19.5);
  CHECK(words(pulse, 19.75) == Lines{"rank 1 (host a, pid 17) is back after 19.5 s of silence"});
  CHECK(words(pulse, 29.0).empty());
  CHECK(words(pulse, 29.5).size() == 1);
}

TEST_CASE("a connection that closes is lost after the grace, one that said goodbye never", "[control]") {
  Pulse pulse(20.0, 5.0);
  pulse.joined({1, "a", 17, "x"}, 0.0);
  pulse.joined({2, "a", 18, "x"}, 0.0);
  pulse.left(2);
  pulse.closed(2, 1.0);
  pulse.closed(1, 1.0);
  CHECK(words(pulse, 5.9).empty());
  CHECK(words(pulse, 6.0) ==
        Lines{"lost: rank 1 (host a, pid 17) closed its connection without a goodbye and was last heard 6.0 s ago, last known at x; the "
              "job ends"});
  CHECK(words(pulse, 60.0).empty());
}

TEST_CASE("a rank that joins again is watched from then on, and its earlier connection is forgotten", "[control]") {
  Pulse pulse(20.0, 5.0);
  pulse.joined({1, "a", 17, "x"}, 0.0);
  pulse.closed(1, 1.0);
  pulse.joined({1, "a", 17, "y"}, 2.0);
  CHECK(words(pulse, 11.9).empty());
  CHECK(words(pulse, 12.0).size() == 1);
  CHECK(words(pulse, 22.0) == Lines{"lost: rank 1 (host a, pid 17) was last heard 20.0 s ago, last known at y; the job ends"});
}

TEST_CASE("time in which the watcher itself was stopped counts for a second at most", "[control]") {
  AwakeClock clock;
  const double before = clock.now();
  timespec pause{1, 500000000};
  nanosleep(&pause, nullptr);
  const double after = clock.now();
  CHECK(after - before > 0.9);
  CHECK(after - before <= 1.0);
  CHECK(clock.take_longest_gap() >= 1.4);
  CHECK(clock.take_longest_gap() == 0.0);
}
