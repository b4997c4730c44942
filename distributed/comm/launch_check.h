#pragma once
/// Finds out that a launcher started many processes which do not know of each other. Each of them would run the whole recipe alone and
/// write to the same folder.

#include <functional>
#include <optional>
#include <string>

namespace cohort::comm {

/// `ranks` is the size of MPI's world (1 without MPI); `variable` reads the environment. Returns what is wrong and how to mend it in one
/// line, or an empty string. Pure.
/// Read: OMPI_COMM_WORLD_SIZE (Open MPI's mpirun), PMI_SIZE (MPICH's and Intel's launchers, srun --mpi=pmi2), SLURM_STEP_NUM_TASKS (srun).
std::string launch_problem(int ranks, bool with_mpi, const std::function<std::optional<std::string>(const char* name)>& variable);

/// The same before MPI_Init, which Open MPI does not survive in a step of srun that offers it no PMI: it ends the process with an advice
/// to build Open MPI anew. Empty where there is no such step.
std::string srun_problem(const std::function<std::optional<std::string>(const char* name)>& variable);

}  // namespace cohort::comm
