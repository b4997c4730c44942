// The main function of every test program. It works the same for one process and under mpirun: rank 0 prints, the others write
// to a file each, and the exit code is the same on all of them: that of the worst rank.

#define CATCH_CONFIG_RUNNER
#include <unistd.h>
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <string>

#include "tests/support/ranks.h"

namespace {

std::string log_path(int rank) { return "/tmp/cohort_tests." + std::to_string(getpid()) + ".rank-" + std::to_string(rank) + ".log"; }

/// Rank 0 has printed its own failures; each other failing rank shows its log, one after another in rank order.
void report(const std::vector<int>& results, const std::string& log) {
  using namespace cohort::test;
  for (int r = 1; r < rank_count(); ++r) {
    if (r == rank() && results[static_cast<size_t>(r)] != 0)
      std::cout << "---- rank " << r << " ----\n" << std::ifstream(log).rdbuf() << std::flush;
    gather(0);  // as a barrier
  }
  if (rank() != 0) {
    std::remove(log.c_str());
    return;
  }
  for (int r = 0; r < rank_count(); ++r) {
    if (results[static_cast<size_t>(r)] != 0) std::cout << "FAILED on rank " << r << " of " << rank_count() << std::endl;
  }
}

}  // namespace

int main(int argc, char** argv) {
  using namespace cohort::test;
  start_ranks(&argc, &argv);
  Catch::Session session;
  int result = session.applyCommandLine(argc, argv);
  const std::string log = log_path(rank());
  if (result == 0) {
    if (rank() != 0) session.configData().outputFilename = log;
    result = session.run();
  }
  const std::vector<int> results = gather(result);
  if (rank_count() > 1) report(results, log);
  stop_ranks();
  return *std::max_element(results.begin(), results.end());
}
