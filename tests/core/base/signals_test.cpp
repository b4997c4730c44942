#include "core/base/signals.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "core/base/error.h"

namespace cohort {
namespace {

/// The exit status of `use` in a process of its own, because signals and the flag belong to the process.
template <class Use>
int status_of(Use use) {
  const pid_t child = fork();
  if (child == 0) {
    install_stop_signals();
    _exit(use());
  }
  int status = -1;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST_CASE("the first signal sets a flag, of any of the three kinds") {
  CHECK(status_of([] { return stop_requested() || !stop_reason().empty() ? 1 : 0; }) == 0);
  CHECK(status_of([] { return raise(SIGTERM) == 0 && stop_requested() && stop_reason() == "SIGTERM" ? 0 : 1; }) == 0);
  CHECK(status_of([] { return raise(SIGUSR1) == 0 && stop_requested() && stop_reason() == "SIGUSR1" ? 0 : 1; }) == 0);
  CHECK(status_of([] { return raise(SIGINT) == 0 && stop_requested() && stop_reason() == "SIGINT" ? 0 : 1; }) == 0);
}

TEST_CASE("the second signal ends the process at once, safe to requeue") {
  CHECK(status_of([] { return raise(SIGTERM) + raise(SIGINT); }) == kExitStopped);
}

TEST_CASE("a request from inside is not a first signal") {
  CHECK(status_of([] {
          request_stop();
          const bool requested = stop_requested() && stop_reason() == "request";
          return raise(SIGTERM) == 0 && requested && stop_reason() == "SIGTERM" ? 0 : 1;
        }) == 0);
}

TEST_CASE("the walltime is a request that a signal may still follow") {
  CHECK(status_of([] {
          stop_within(3600.0);
          if (stop_requested() || stop_requested(3000.0)) return 1;
          if (!stop_requested(4000.0)) return 2;  // a step that would not fit
          return stop_requested() && stop_reason() == "walltime" ? 0 : 3;
        }) == 0);
  CHECK(status_of([] {
          stop_within(-1.0);
          const bool requested = stop_requested() && stop_reason() == "walltime";
          return raise(SIGTERM) == 0 && requested && stop_reason() == "SIGTERM" ? 0 : 1;
        }) == 0);
  CHECK(status_of([] {
          stop_within(-1.0);
          return stop_requested() ? raise(SIGTERM) + raise(SIGTERM) : 1;
        }) == kExitStopped);
}

}  // namespace
}  // namespace cohort
