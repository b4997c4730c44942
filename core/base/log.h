#pragma once
/// The program's log: the terminal (stderr) on rank 0, and RUN/log/rank-N.log on every rank.

#include <fmt/core.h>

#include <string>
#include <string_view>
#include <utility>

namespace cohort {

enum class LogLevel { kDebug, kInfo, kWarn, kError };

/// Once per process, before other threads log. With an empty `run_dir` there is no file. Rank 0 shows info and above on stderr; other ranks
/// show only errors there, so that nothing is lost. Files hold all levels; lines carry the rank when `size` > 1. May be called again to
/// change the folder. Before the first call, lines go to stderr as on rank 0 of 1.
void init_log(const std::string& run_dir, int rank, int size);

/// One line; thread-safe. Every line but debug is flushed to the file at once, so that a killed run leaves its last words.
void log_line(LogLevel level, std::string_view text);

/// One line for the file alone: what the terminal already shows in another form.
void log_to_file(std::string_view text);

template <class... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::kDebug, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void log_warn(fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::kWarn, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::kError, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace cohort
