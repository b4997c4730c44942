#pragma once
/// Being asked to stop: SIGTERM and SIGINT (someone, or a preempting scheduler), SIGUSR1 (a scheduler before the walltime ends).

#include <string>

namespace cohort {

/// The first such signal sets a flag that the training loop looks at between steps; a second one exits at once with status 75.
/// Affects the whole process.
void install_stop_signals();

/// True after a signal or request_stop(). Cheap; any thread.
bool stop_requested();

/// Asks to stop from inside the process.
void request_stop();

/// "SIGTERM", "SIGUSR1", "SIGINT", "request", or "" when nobody asked.
std::string stop_reason();

}  // namespace cohort
