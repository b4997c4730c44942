#include "distributed/comm/launch_check.h"

#include <fmt/format.h>

#include <charconv>

namespace cohort::comm {
namespace {

/// The number in a variable; 0 where it is not set or no number.
int number_in(const std::optional<std::string>& text) {
  int value = 0;
  if (text) {
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
    if (error != std::errc() || end != text->data() + text->size()) return 0;
  }
  return value;
}

constexpr const char* kSrunFix = "use srun --mpi=pmix, or, where srun --mpi=list does not show pmix, mpirun inside the allocation";

}  // namespace

std::string srun_problem(const std::function<std::optional<std::string>(const char* name)>& variable) {
  const int tasks = number_in(variable("SLURM_STEP_NUM_TASKS"));
  if (tasks == 0) return "";
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_NAMESPACE", "PMI_SIZE", "PMI_RANK", "PMI_FD"})
    if (variable(name)) return "";
  return fmt::format("launch: expected srun to tell the {} task{} of each other, found neither PMIx nor PMI; {}", tasks,
                     tasks == 1 ? "" : "s", kSrunFix);
}

std::string launch_problem(int ranks, bool with_mpi, const std::function<std::optional<std::string>(const char* name)>& variable) {
  const int open_mpi = number_in(variable("OMPI_COMM_WORLD_SIZE"));
  const int pmi = number_in(variable("PMI_SIZE"));
  const int srun = number_in(variable("SLURM_STEP_NUM_TASKS"));
  // The innermost launcher counts: mpirun inside an srun step inherits the step's variables.
  const int started = open_mpi > 0 ? open_mpi : (pmi > 0 ? pmi : srun);
  if (started <= 1 || ranks > 1) return "";
  const char* launcher = open_mpi > 0 ? "mpirun" : (pmi > 0 ? "a launcher that speaks PMI" : "srun");
  std::string fix;
  if (!with_mpi) {
    fix = "this build has no MPI: configure with COHORT_WITH_MPI=ON, or start one process";
  } else if (open_mpi > 0) {
    fix = "the program was built with another MPI than this mpirun's: use the mpirun of that MPI";
  } else if (pmi > 0) {
    fix = "Open MPI does not understand this launcher: use Open MPI's mpirun, or srun --mpi=pmix";
  } else {
    fix = kSrunFix;
  }
  return fmt::format("launch: expected {} ranks as started by {}, found a world of 1 in each process; {}", started, launcher, fix);
}

}  // namespace cohort::comm
