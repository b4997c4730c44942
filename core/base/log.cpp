#include "core/base/log.h"

#include <fmt/core.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <mutex>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/progress.h"

namespace cohort {

namespace {

struct Loggers {
  std::shared_ptr<spdlog::logger> terminal;
  std::shared_ptr<spdlog::logger> file;  // null without a run folder
};

std::shared_ptr<spdlog::logger> make_logger(spdlog::sink_ptr sink, spdlog::level::level_enum level, const std::string& pattern) {
  auto logger = std::make_shared<spdlog::logger>("cohort", std::move(sink));
  logger->set_level(level);
  logger->set_pattern(pattern);
  logger->flush_on(spdlog::level::info);  // a killed run should leave its last words
  return logger;
}

std::shared_ptr<spdlog::logger> make_terminal(int rank, int size) {
  const std::string who = size > 1 ? fmt::format(" rank {}", rank) : "";
  const auto level = rank == 0 ? spdlog::level::info : spdlog::level::err;
  return make_logger(std::make_shared<spdlog::sinks::stderr_color_sink_mt>(), level, "%H:%M:%S" + who + " %^%l%$ %v");
}

std::shared_ptr<spdlog::logger> make_file(const std::string& run_dir, int rank) {
  make_directories(run_dir + "/log");
  const std::string path = fmt::format("{}/log/rank-{}.log", run_dir, rank);
  try {
    const auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path);
    auto logger = make_logger(sink, spdlog::level::debug, "%Y-%m-%d %H:%M:%S.%e %l %v");
    return logger;
  } catch (const spdlog::spdlog_ex& error) {
    throw Fault(fmt::format("{}: the log could not be opened: {}", path, error.what()));
  }
}

std::mutex& loggers_mutex() {
  static std::mutex mutex;
  return mutex;
}

Loggers& loggers() {
  static Loggers instance = {make_terminal(0, 1), nullptr};
  return instance;
}

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    default:
      return spdlog::level::err;
  }
}

spdlog::string_view_t view(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace

void init_log(const std::string& run_dir, int rank, int size) {
  Loggers made = {make_terminal(rank, size), run_dir.empty() ? nullptr : make_file(run_dir, rank)};
  const std::lock_guard<std::mutex> lock(loggers_mutex());
  loggers() = std::move(made);
}

void log_line(LogLevel level, std::string_view text) {
  const spdlog::level::level_enum severity = spdlog_level(level);
  const std::lock_guard<std::mutex> lock(loggers_mutex());
  const Loggers& both = loggers();
  if (both.terminal->should_log(severity)) {
    clear_progress_bar();
    both.terminal->log(severity, view(text));
  }
  if (both.file != nullptr) both.file->log(severity, view(text));
}

void log_to_file(std::string_view text) {
  const std::lock_guard<std::mutex> lock(loggers_mutex());
  if (loggers().file != nullptr) loggers().file->log(spdlog::level::info, view(text));
}

}  // namespace cohort
