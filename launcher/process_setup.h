#pragma once
/// What a process does before it works: memory, instructions, threads.

#include "distributed/comm/communicator.h"

namespace cohort::launcher {

/// Tells glibc's malloc to keep what is freed. With its defaults every tensor above 128 KiB comes from mmap and goes back to the kernel
/// when it is freed, so that the next one of the same size faults in every page again: half the time of a rollout on small models. What is
/// kept counts as resident. Call before the first large allocation. Does nothing with another malloc.
void keep_freed_memory();

/// InputError where COHORT_ISA names instructions that this machine does not have; sooner than in the first kernel.
void check_instruction_set();

/// Threads of one rank: OMP_NUM_THREADS where it is set; else the machine's cores over the ranks on this machine, at most the cores this
/// process may run on, at least 1. Pure.
int threads_per_rank(const char* omp_num_threads, int machine_cores, int allowed_cores, int ranks_here);

/// Sets LibTorch's threads by the rule above; returns their number.
int share_cores(const comm::Communicator& world);

}  // namespace cohort::launcher
