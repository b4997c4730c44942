// A save that is killed at every system call: a process saves step 2 beside step 1 under ptrace(2) and is killed when it enters, and when
// it leaves, its n-th call, for every n. What the disk holds is then what the calls before have done. (What a power cut loses of it is
// another question; for that the order of fsync and rename is looked at, too.)
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <map>
#include <set>

#include "tests/core/base/temp_dir.h"
#include "tests/core/train/small_state.h"

#if defined(__x86_64__)
namespace cohort::train {
namespace {

namespace fs = std::filesystem;

/// A child that saves step 2 in some shards and lets itself be traced.
pid_t start_saving(const std::string& folder, int shards) {
  const pid_t child = fork();
  if (child == 0) {
    ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    raise(SIGSTOP);
    try {
      save_small(folder, 2, 2, shards);
    } catch (...) {
      _exit(1);
    }
    _exit(0);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFSTOPPED(status));
  REQUIRE(ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) == 0);
  return child;
}

/// Lets the child go on to its next entry into, or return from, a system call. False when it has ended, with `status`.
bool next_stop(pid_t child, int& status) {
  ptrace(PTRACE_SYSCALL, child, nullptr, nullptr);
  REQUIRE(waitpid(child, &status, 0) == child);
  return WIFSTOPPED(status);
}

/// Kills a save at its n-th stop; false when it ended before.
bool killed_at(const std::string& folder, int n) {
  const pid_t child = start_saving(folder, 4);
  int status = 0;
  for (int stop = 0; stop <= n; ++stop)
    if (!next_stop(child, status)) {
      CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
      return false;
    }
  kill(child, SIGKILL);
  waitpid(child, &status, 0);
  return true;
}

bool can_trace() {
  const pid_t child = fork();
  if (child == 0) _exit(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0 ? 0 : 1);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

std::string text_at(pid_t child, uint64_t address) {
  std::string text;
  for (; text.size() < 4096; ++address) {
    const char letter = static_cast<char>(ptrace(PTRACE_PEEKDATA, child, address, nullptr));  // the lowest byte of the word there
    if (letter == '\0') break;
    text += letter;
  }
  return text;
}

}  // namespace

TEST_CASE("a save that is killed at any system call leaves step N or N-1, and can be made again") {
  if (!can_trace()) {
    WARN("skipped: this machine does not let processes be traced");
    return;
  }
  const TempDir folder;
  const std::string fresh = folder / "fresh", run = folder / "run";
  for (const uint64_t step : {0, 1}) save_small(fresh, step);
  int kills = 0, before = 0, after = 0;
  for (;; ++kills) {
    fs::remove_all(run);
    fs::copy(fresh, run, fs::copy_options::recursive);
    if (!killed_at(run, kills)) break;
    const int64_t newest = newest_loadable(run);
    if (newest != 1 && newest != 2) FAIL("killed at stop " << kills << ": the newest loadable step is " << newest);
    ++(newest == 1 ? before : after);
    CHECK(newest_step(run, kStage, kHash) == newest);
    save_small(run, 2);
    REQUIRE(newest_loadable(run) == 2);
    CHECK_FALSE(fs::exists(run + "/step_2.tmp"));
  }
  CHECK(kills >= 200);
  CHECK(before > 50);
  CHECK(after > 10);
  std::printf("killed at each of %d points of a save: %d times step N-1 was the newest, %d times N\n", kills, before, after);
}

TEST_CASE("what a save writes is on the disk before the rename, and the rename before anything is deleted") {
  if (!can_trace()) {
    WARN("skipped: this machine does not let processes be traced");
    return;
  }
  const TempDir folder;
  for (const uint64_t step : {0, 1}) save_small(folder.path(), step);
  const pid_t child = start_saving(folder.path(), 2);
  std::map<uint64_t, std::string> open;  // descriptor → path
  std::set<std::string> dirty, synced;   // written and not yet synced; synced
  bool renamed = false, durable = false, latest = false, deleted = false;
  std::string opening;
  int status = 0;
  for (bool entering = true; next_stop(child, status); entering = !entering) {
    user_regs_struct r{};
    REQUIRE(ptrace(PTRACE_GETREGS, child, nullptr, &r) == 0);
    if (r.orig_rax == SYS_openat) {
      if (entering) opening = text_at(child, r.rsi);
      if (!entering && static_cast<int64_t>(r.rax) >= 0) open[r.rax] = opening;
    }
    if (!entering) continue;
    if (r.orig_rax == SYS_write) dirty.insert(open[r.rdi]), synced.erase(open[r.rdi]);
    if (r.orig_rax == SYS_fsync)
      dirty.erase(open[r.rdi]), synced.insert(open[r.rdi]), durable = durable || (renamed && open[r.rdi] == folder.path());
    if (r.orig_rax == SYS_rename && text_at(child, r.rsi).ends_with("/step_2")) {
      CHECK(dirty.empty());
      for (const char* file : {"", "/shard_0_of_2.bin", "/shard_1_of_2.bin", "/manifest.json", "/manifest.xxh3"})
        CHECK(synced.count(folder / "step_2.tmp" + file) == 1);
      renamed = true;
    }
    if (r.orig_rax == SYS_rename && text_at(child, r.rsi).ends_with("/LATEST")) {
      CHECK(durable);
      CHECK(dirty.empty());
      latest = true;
    }
    if ((r.orig_rax == SYS_unlinkat || r.orig_rax == SYS_rmdir || r.orig_rax == SYS_unlink) && renamed &&
        text_at(child, r.orig_rax == SYS_unlinkat ? r.rsi : r.rdi).find("LATEST.tmp") == std::string::npos) {
      CHECK(latest);
      deleted = true;
    }
  }
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
  CHECK((renamed && durable && latest && deleted));
  CHECK(newest_loadable(folder.path()) == 2);
}

}  // namespace cohort::train
#endif
