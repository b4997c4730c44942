#pragma once
/// How the test program meets the other processes of its run: ranks_self.cpp (one process) or ranks_mpi.cpp (under mpirun).

#include <vector>

namespace cohort::test {

/// Call once before the tests.
void start_ranks(int* argc, char*** argv);

int rank();
int rank_count();

/// The value of every rank, in rank order, on every rank. Collective, blocking.
std::vector<int> gather(int mine);

/// Call once after the tests. Collective, blocking.
void stop_ranks();

}  // namespace cohort::test
