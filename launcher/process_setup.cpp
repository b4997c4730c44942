#include "launcher/process_setup.h"

#include <ATen/Parallel.h>
#include <malloc.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "core/base/error.h"
#include "core/base/text_util.h"
#include "kernels/common/row_kernels.h"

namespace cohort::launcher {
namespace {

constexpr int kKeep = 1 << 30;       // bytes free at the top of the heap before some are given back
constexpr int kMmapFrom = 32 << 20;  // the largest threshold that glibc accepts
constexpr int kMaxThreads = 1024;

int allowed_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

}  // namespace

void keep_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_TRIM_THRESHOLD, kKeep);
  mallopt(M_MMAP_THRESHOLD, kMmapFrom);
#endif
}

void check_instruction_set() {
  const char* name = std::getenv("COHORT_ISA");
  if (name != nullptr && kernels::row_kernels_named(name) == nullptr)
    throw InputError("COHORT_ISA: expected portable, avx2 or avx512 as this machine has it, found \"" + printable(name) + "\"");
}

int threads_per_rank(const char* omp_num_threads, int machine_cores, int allowed_cores, int ranks_here) {
  const int wanted = omp_num_threads == nullptr ? 0 : std::atoi(omp_num_threads);
  if (wanted > 0) return std::min(wanted, kMaxThreads);
  return std::max(1, std::min(machine_cores / std::max(1, ranks_here), allowed_cores));
}

int share_cores(const comm::Communicator& world) {
  int ranks_here = 0;
  for (int rank = 0; rank < world.size(); ++rank)
    if (world.host(rank) == world.host()) ++ranks_here;
  const int machine_cores = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  const int threads = threads_per_rank(std::getenv("OMP_NUM_THREADS"), machine_cores, allowed_cores(), ranks_here);
  at::set_num_threads(threads);
  return threads;
}

}  // namespace cohort::launcher
