#pragma once
/// Being asked to stop: SIGTERM and SIGINT (someone, or a preempting scheduler), SIGUSR1 (a scheduler before the walltime ends), or a
/// deadline of our own (core/base/walltime.h).

#include <string>

namespace cohort {

/// The first such signal sets a flag that the training loop looks at between steps; a second one exits at once with status 75.
/// Affects the whole process.
void install_stop_signals();

/// True after a signal or request_stop(), and when fewer than `needed_s` seconds are left of stop_within(). Cheap; any thread.
bool stop_requested(double needed_s = 0.0);

/// The process must have stopped `seconds` from now, by the monotonic clock. Not positive: as soon as it can.
void stop_within(double seconds);

/// Asks to stop from inside the process.
void request_stop();

/// "SIGTERM", "SIGUSR1", "SIGINT", "request", "walltime", or "" when nobody asked.
std::string stop_reason();

}  // namespace cohort
