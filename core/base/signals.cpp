#include "core/base/signals.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <system_error>

#include "core/base/error.h"

namespace cohort {

namespace {

constexpr int kRequest = -1;

// 0, a signal's number, or kRequest. Lock-free, so a signal handler may touch it.
std::atomic<int> stop_cause = 0;
static_assert(std::atomic<int>::is_always_lock_free);

extern "C" void on_stop_signal(int number) {
  // Whoever asks twice does not want to wait for the checkpoint.
  int nobody = 0;
  if (!stop_cause.compare_exchange_strong(nobody, number) && nobody != kRequest) _exit(kExitStopped);
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

bool stop_requested() { return stop_cause.load(std::memory_order_relaxed) != 0; }

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
    default:
      return "request";
  }
}

}  // namespace cohort
