#include "core/base/progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "core/base/activity.h"
#include "core/base/log.h"

namespace cohort {

namespace {

constexpr double kBarSeconds = 0.1;
constexpr int64_t kBarCells = 24;
constexpr const char* kClearLine = "\r\033[K";

std::atomic<bool> bar_on_stderr = false;

}  // namespace

Progress::Progress(std::string stage, int64_t total, bool visible, double line_seconds)
    : Progress(std::move(stage), total, visible, line_seconds, stderr, ::isatty(STDERR_FILENO) == 1) {}

Progress::Progress(std::string stage, int64_t total, bool visible, double line_seconds, std::FILE* out, bool terminal)
    : stage_(std::move(stage)), total_(total), visible_(visible), line_seconds_(line_seconds), out_(out), terminal_(terminal) {}

Progress::~Progress() { finish(); }

void Progress::start_at(int64_t step) {
  start_ = step;
  step_ = step;
  note_stage(stage_, step);
}

void Progress::update(int64_t step, const std::string& note) {
  step_ = step;
  note_stage(stage_, step);
  if (!visible_) return;
  const double now = clock_.seconds();
  const bool last = step >= total_;
  if (terminal_ && (last || now - last_bar_ >= kBarSeconds)) {
    last_bar_ = now;
    draw_bar(note);
  }
  if (last || now - last_line_ >= line_seconds_) {
    last_line_ = now;
    write_line(note);
  }
}

void Progress::finish() {
  if (!drawn_) return;
  drawn_ = false;
  if (out_ == stderr) bar_on_stderr = false;
  std::fputs("\n", out_);
  std::fflush(out_);
}

std::string Progress::summary(const std::string& note) const {
  const double seconds = clock_.seconds();
  const int64_t done = step_ - start_;
  std::string text = fmt::format("{}/{}", step_, total_);
  if (done > 0 && seconds > 0.0) {
    const double rate = static_cast<double>(done) / seconds;
    text += rate >= 1.0 ? fmt::format("  {:.1f}/s", rate) : fmt::format("  {:.1f} s each", 1.0 / rate);
    if (step_ < total_) text += fmt::format("  {} left", format_duration(static_cast<double>(total_ - step_) / rate));
    if (step_ >= total_) text += fmt::format("  in {}", format_duration(seconds));
  }
  if (!note.empty()) text += "  " + note;
  return text;
}

void Progress::draw_bar(const std::string& note) {
  const int64_t filled = total_ > 0 ? std::clamp<int64_t>(kBarCells * step_ / total_, 0, kBarCells) : kBarCells;
  std::string cells;
  for (int64_t i = 0; i < kBarCells; ++i) cells += i < filled ? "█" : "·";
  std::fputs(fmt::format("{}{} {} {}", kClearLine, stage_, cells, summary(note)).c_str(), out_);
  std::fflush(out_);
  drawn_ = true;
  if (out_ == stderr) bar_on_stderr = true;
}

void Progress::write_line(const std::string& note) {
  const std::string line = fmt::format("{}  {}", stage_, summary(note));
  log_to_file(line);
  if (terminal_) return;
  std::fputs((line + "\n").c_str(), out_);
  std::fflush(out_);
}

void clear_progress_bar() {
  if (!bar_on_stderr.exchange(false)) return;
  std::fputs(kClearLine, stderr);
  std::fflush(stderr);
}

std::string format_duration(double seconds) {
  const auto whole = static_cast<int64_t>(std::clamp(seconds, 0.0, 1e9) + 0.5);
  if (whole < 60) return fmt::format("{}s", whole);
  if (whole < 3600) return fmt::format("{}m {:02}s", whole / 60, whole % 60);
  return fmt::format("{}h {:02}m", whole / 3600, whole % 3600 / 60);
}

}  // namespace cohort
