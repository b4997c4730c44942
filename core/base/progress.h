#pragma once
/// How far a stage is: a bar on a terminal, now and then a line in a log.

#include <cstdint>
#include <cstdio>
#include <string>

#include "core/base/stopwatch.h"

namespace cohort {

/// Not thread-safe: one thread updates. Shows nothing when `visible` is false (ranks other than 0).
///
/// On a terminal: a bar with step, rate and time left, redrawn at most ten times a second. Otherwise plain lines, at most one every
/// `line_seconds`, and always one for the last step. The log file gets the plain lines in both cases.
class Progress {
 public:
  Progress(std::string stage, int64_t total, bool visible = true, double line_seconds = 10.0);
  /// For tests and other outputs.
  Progress(std::string stage, int64_t total, bool visible, double line_seconds, std::FILE* out, bool terminal);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Steps done before this process began (resume): they count as done, not in the rate.
  void start_at(int64_t step);
  /// `note` is a short text of key metrics, such as "reward 0.61 length 84".
  void update(int64_t step, const std::string& note = "");
  /// Ends the bar's line. The destructor does the same.
  void finish();

 private:
  void draw_bar(const std::string& note);
  void write_line(const std::string& note);
  std::string summary(const std::string& note) const;

  std::string stage_;
  int64_t total_;
  int64_t start_ = 0;
  int64_t step_ = 0;
  bool visible_;
  double line_seconds_;
  std::FILE* out_;
  bool terminal_;
  bool drawn_ = false;
  Stopwatch clock_;
  double last_bar_ = -1e9;
  double last_line_ = -1e9;
};

/// Clears the bar if one is on stderr, so that a log line does not run into it; the next update draws it again.
void clear_progress_bar();

/// "41s", "3m 05s", "2h 07m".
std::string format_duration(double seconds);

}  // namespace cohort
