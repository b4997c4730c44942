// cohort_fuzz TARGET [--seconds S] [--seed N] [--findings FOLDER]    mutate inputs for S seconds of processor time (default 10), seed 1
// cohort_fuzz TARGET --replay FILE…                                  run these inputs
// cohort_fuzz --list                                                 the targets
//
// Exit code 0: no finding; 1: a finding, whose input was written to a file; 2: wrong arguments, or a seed that the parser refuses.
// The same seed gives the same inputs, but for where the time ends.

#include <fcntl.h>
#include <sanitizer/common_interface_defs.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <exception>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/base/random.h"
#include "tests/fuzz/coverage.h"
#include "tests/fuzz/mutator.h"
#include "tests/fuzz/target.h"

// g++ has these functions, but not LLVM's sanitizer/allocator_interface.h, which declares them.
extern "C" size_t __sanitizer_get_allocated_size(const volatile void*);
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*)(const volatile void*, size_t), void (*)(const volatile void*));

// One allocation above the limit, however it is made, ends the process; the sum of smaller ones is counted below.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "max_allocation_size_mb=512:handle_abort=1:detect_leaks=1:quarantine_size_mb=16"; }

// UBSan has a runtime of its own, whose end ASan hears of through the signal.
extern "C" const char* __ubsan_default_options();
extern "C" const char* __ubsan_default_options() { return "abort_on_error=1:print_stacktrace=1"; }

namespace cohort::fuzz {
namespace {

constexpr double kMaxSeconds = 1.0;
constexpr int kHangSeconds = 3;
constexpr int64_t kMaxLiveBytes = int64_t{256} << 20;
constexpr size_t kMaxInputBytes = size_t{1} << 16;
constexpr size_t kMaxCorpus = 4096;

struct Options {
  std::string target, findings = ".";
  double seconds = 10.0;
  uint64_t seed = 1;
  std::vector<std::string> replay;
};

// ---- what a dying process needs ----
const std::string* input_at_hand = nullptr;
std::string finding_path;  // complete before the first input
std::atomic<int64_t> live_bytes{0}, most_live_bytes{0};

/// Only system calls: it runs in signal handlers.
void save_input() {
  if (input_at_hand == nullptr) return;
  const int file = ::open(finding_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  size_t done = 0;
  while (file >= 0 && done < input_at_hand->size()) {
    const ssize_t count = ::write(file, input_at_hand->data() + done, input_at_hand->size() - done);
    if (count <= 0) break;
    done += static_cast<size_t>(count);
  }
  const auto say = [](const char* text) { [[maybe_unused]] const ssize_t count = ::write(STDERR_FILENO, text, std::strlen(text)); };
  say("fuzz: FINDING, its input is in ");
  say(finding_path.c_str());
  say("\n");
}

void on_hang(int) {
  constexpr char kText[] = "fuzz: not done after 3 s of processor time\n";
  [[maybe_unused]] const ssize_t count = ::write(STDERR_FILENO, kText, sizeof kText - 1);
  save_input();
  ::_exit(1);
}

void on_malloc(const volatile void*, size_t bytes) {
  const int64_t now = live_bytes += static_cast<int64_t>(bytes);
  if (now > most_live_bytes) most_live_bytes = now;
}

void on_free(const volatile void* pointer) {
  if (pointer != nullptr) live_bytes -= static_cast<int64_t>(__sanitizer_get_allocated_size(pointer));
}

void set_alarm(int seconds) {
  const itimerval timer{{0, 0}, {seconds, 0}};
  ::setitimer(ITIMER_PROF, &timer, nullptr);
}

double processor_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// ---- one input ----

struct Outcome {
  bool accepted = false;
  std::string finding;  // empty: none
};

Outcome try_input(const Target& target, const std::string& input) {
  Outcome outcome;
  input_at_hand = &input;
  start_coverage();
  const int64_t bytes_before = live_bytes;
  most_live_bytes = bytes_before;
  set_alarm(kHangSeconds);
  const double begin = processor_seconds();
  try {
    target.run(input);
    outcome.accepted = true;
  } catch (const InputError&) {
  } catch (const std::exception& error) {
    outcome.finding = std::string("an exception that is no InputError: ") + error.what();
  } catch (...) {
    outcome.finding = "an exception of an unknown type";
  }
  const double seconds = processor_seconds() - begin;
  set_alarm(0);
  input_at_hand = nullptr;
  const int64_t bytes = most_live_bytes - bytes_before;
  if (outcome.finding.empty() && seconds > kMaxSeconds) outcome.finding = std::to_string(seconds) + " s of processor time";
  if (outcome.finding.empty() && bytes > kMaxLiveBytes) outcome.finding = std::to_string(bytes >> 20) + " MiB of memory";
  return outcome;
}

int report(const Outcome& outcome, const std::string& input) {
  std::fprintf(stderr, "fuzz: %s\n", outcome.finding.c_str());
  input_at_hand = &input;
  save_input();
  input_at_hand = nullptr;
  return 1;
}

// ---- many ----

std::optional<std::string> bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

int replay(const Target& target, const Options& options) {
  for (const std::string& path : options.replay) {
    const std::optional<std::string> input = bytes_of(path);
    if (!input) {
      std::fprintf(stderr, "fuzz: %s: cannot be read\n", path.c_str());
      return 2;
    }
    const Outcome outcome = try_input(target, *input);
    if (!outcome.finding.empty()) return report(outcome, *input);
    std::printf("fuzz: %s: %s: %s\n", target.name.c_str(), path.c_str(), outcome.accepted ? "accepted" : "refused");
  }
  return 0;
}

std::string next_input(const Target& target, Mutator& mutator, const std::vector<std::string>& corpus) {
  RandomStream& random = mutator.random();
  // Half of the time from the newest inputs: what they reached is the least explored.
  const size_t newest = std::min<size_t>(corpus.size(), 32);
  const size_t from = random.below(2) == 0 ? corpus.size() - 1 - random.below(newest) : random.below(corpus.size());
  const std::string& other = corpus[random.below(corpus.size())];
  return target.mutate ? target.mutate(mutator, corpus[from], other) : mutator.mutate(corpus[from], other);
}

int fuzz(const Target& target, const Options& options) {
  std::vector<std::string> corpus = target.seeds();
  const size_t seeds = corpus.size();
  for (size_t i = 0; i < seeds; ++i) {
    const Outcome outcome = try_input(target, corpus[i]);
    if (!outcome.finding.empty()) return report(outcome, corpus[i]);
    if (outcome.accepted) {
      found_new_coverage();
      continue;
    }
    std::fprintf(stderr, "fuzz: %s: seed %zu is refused, so it tests little: mend the seed\n", target.name.c_str(), i);
    return 2;
  }
  Mutator mutator(RandomStream(options.seed, "fuzz/" + target.name), target.dictionary, kMaxInputBytes);
  uint64_t inputs = 0, accepted = 0;
  const double begin = processor_seconds();
  while (processor_seconds() - begin < options.seconds) {
    std::string input = next_input(target, mutator, corpus);
    const Outcome outcome = try_input(target, input);
    ++inputs;
    if (!outcome.finding.empty()) {
      std::fprintf(stderr, "fuzz: %s: seed %llu, input %llu\n", target.name.c_str(), static_cast<unsigned long long>(options.seed),
                   static_cast<unsigned long long>(inputs));
      return report(outcome, input);
    }
    if (outcome.accepted) ++accepted;
    if (found_new_coverage() && corpus.size() < kMaxCorpus) corpus.push_back(std::move(input));
  }
  std::printf("fuzz: %-20s seed %llu: %llu inputs in %.0f s, %llu accepted, %zu seeds and %zu more kept, %zu edges; no finding\n",
              target.name.c_str(), static_cast<unsigned long long>(options.seed), static_cast<unsigned long long>(inputs), options.seconds,
              static_cast<unsigned long long>(accepted), seeds, corpus.size() - seeds, edges_found());
  return 0;
}

// ---- arguments ----

std::optional<Options> parse_arguments(const std::vector<std::string>& arguments) {
  Options options;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    const bool has_value = i + 1 < arguments.size();
    char* end = nullptr;
    if (word == "--replay") {
      options.replay.assign(arguments.begin() + static_cast<std::ptrdiff_t>(i) + 1, arguments.end());
      break;
    }
    if (word == "--seconds" && has_value) {
      options.seconds = std::strtod(arguments[++i].c_str(), &end);
    } else if (word == "--seed" && has_value) {
      options.seed = std::strtoull(arguments[++i].c_str(), &end, 10);
    } else if (word == "--findings" && has_value) {
      options.findings = arguments[++i];
    } else if (options.target.empty() && !word.empty() && word[0] != '-') {
      options.target = word;
    } else {
      return std::nullopt;
    }
    if (end != nullptr && (*end != '\0' || end == arguments[i].c_str())) return std::nullopt;
  }
  if (options.target.empty()) return std::nullopt;
  return options;
}

const Target* find_target(const std::vector<Target>& all, const std::string& name) {
  const auto found = std::find_if(all.begin(), all.end(), [&](const Target& target) { return target.name == name; });
  return found == all.end() ? nullptr : &*found;
}

int run(const std::vector<std::string>& arguments) {
  std::vector<Target> all = targets();
  if (arguments == std::vector<std::string>{"--list"}) {
    for (const Target& target : all) std::printf("%s\n", target.name.c_str());
    return 0;
  }
  for (Target& target : planted_targets()) all.push_back(std::move(target));
  const std::optional<Options> options = parse_arguments(arguments);
  const Target* target = options ? find_target(all, options->target) : nullptr;
  if (target == nullptr) {
    std::fprintf(stderr, "usage: cohort_fuzz TARGET [--seconds S] [--seed N] [--findings FOLDER] [--replay FILE...]; cohort_fuzz --list\n");
    return 2;
  }
  finding_path = options->findings + "/" + target->name + "." + std::to_string(options->seed) + ".input";
  std::signal(SIGPROF, on_hang);
  __sanitizer_set_death_callback(save_input);
  __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
  return options->replay.empty() ? fuzz(*target, *options) : replay(*target, *options);
}

}  // namespace
}  // namespace cohort::fuzz

int main(int argc, char** argv) { return cohort::fuzz::run({argv + 1, argv + argc}); }
