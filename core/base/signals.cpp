#include "core/base/signals.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <limits>
#include <system_error>

#include "core/base/error.h"

namespace cohort {

namespace {

constexpr int kRequest = -1;
constexpr int kWalltime = -2;

// 0, a signal's number, kRequest or kWalltime. Lock-free, so a signal handler may touch it.
std::atomic<int> stop_cause = 0;
static_assert(std::atomic<int>::is_always_lock_free);

std::atomic<double> deadline = std::numeric_limits<double>::infinity();  // of monotonic_seconds()

double monotonic_seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

extern "C" void on_stop_signal(int number) {
  // Whoever asks twice does not want to wait for the checkpoint.
  int nobody = 0;
  if (!stop_cause.compare_exchange_strong(nobody, number) && nobody > 0) _exit(kExitStopped);
  stop_cause = number;
}

}  // namespace

void install_stop_signals() {
  struct sigaction action {};
  action.sa_handler = on_stop_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (const int number : {SIGTERM, SIGUSR1, SIGINT}) {
    if (sigaction(number, &action, nullptr) != 0) throw Fault("sigaction failed: " + std::generic_category().message(errno));
  }
}

bool stop_requested(double needed_s) {
  if (stop_cause.load(std::memory_order_relaxed) != 0) return true;
  if (deadline.load(std::memory_order_relaxed) - monotonic_seconds() > needed_s) return false;
  int nobody = 0;
  stop_cause.compare_exchange_strong(nobody, kWalltime);
  return true;
}

void stop_within(double seconds) { deadline = monotonic_seconds() + seconds; }

void request_stop() {
  int nobody = 0;
  stop_cause.compare_exchange_strong(nobody, kRequest);
}

std::string stop_reason() {
  switch (stop_cause.load()) {
    case 0:
      return "";
    case SIGTERM:
      return "SIGTERM";
    case SIGUSR1:
      return "SIGUSR1";
    case SIGINT:
      return "SIGINT";
    case kWalltime:
      return "walltime";
    default:
      return "request";
  }
}

}  // namespace cohort
