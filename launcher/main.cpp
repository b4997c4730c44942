// The program `cohort`.

#include <cstdio>

#include "core/base/error.h"
#include "distributed/comm/mpi_session.h"
#include "launcher/process_setup.h"
#include "launcher/program.h"

int main(int argc, char** argv) {
  cohort::launcher::keep_freed_memory();
  try {
    cohort::comm::MpiSession session(&argc, &argv);
    return session.leave(cohort::launcher::run_program(argc, argv));
  } catch (const cohort::InputError& error) {  // processes that do not know of each other
    std::fprintf(stderr, "%s\n", error.what());
    return cohort::kExitBadInput;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return cohort::kExitFault;
  }
}
