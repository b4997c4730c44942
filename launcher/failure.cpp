#include "launcher/failure.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <memory>
#include <new>

#include "launcher/memory_plan.h"

namespace cohort::launcher {
namespace {

/// "this process holds 1.2 GiB of address space, 300.0 MiB of it resident; its limit (ulimit -v) is 1.3 GiB"
std::string memory_state() {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> statm(std::fopen("/proc/self/statm", "r"), &std::fclose);
  long long total = 0, resident = 0;
  if (!statm || std::fscanf(statm.get(), "%lld %lld", &total, &resident) != 2) return "";
  const long long page = sysconf(_SC_PAGESIZE);
  rlimit limit{};
  getrlimit(RLIMIT_AS, &limit);
  return fmt::format("; this process holds {} of address space, {} of it resident; its limit (ulimit -v) is {}",
                     readable_bytes(total * page), readable_bytes(resident * page),
                     limit.rlim_cur == RLIM_INFINITY ? "none" : readable_bytes(static_cast<int64_t>(limit.rlim_cur)));
}

/// LibTorch: "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 123 bytes. …"
bool is_out_of_memory(const std::string& text, long long& bytes) {
  if (text.find("can't allocate memory") == std::string::npos) return false;
  const std::string before = "tried to allocate ";
  const size_t at = text.find(before);
  return at != std::string::npos && std::sscanf(text.c_str() + at + before.size(), "%lld", &bytes) == 1;
}

}  // namespace

std::string describe_failure(const std::exception& error) {
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return "out of memory: an allocation of unknown size failed" + memory_state();
  const auto* torch = dynamic_cast<const c10::Error*>(&error);
  if (torch == nullptr) return error.what();
  const std::string text = torch->what_without_backtrace();
  long long bytes = 0;
  if (!is_out_of_memory(text, bytes)) return text.substr(0, text.find('\n'));
  return fmt::format("out of memory: {} bytes ({}) were asked for{}", bytes, readable_bytes(bytes), memory_state());
}

}  // namespace cohort::launcher
