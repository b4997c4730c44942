#include "distributed/comm/launch_check.h"

#include <catch2/catch.hpp>
#include <map>

namespace cohort::comm {
namespace {

std::string problem(int ranks, bool with_mpi, const std::map<std::string, std::string>& environment) {
  return launch_problem(ranks, with_mpi, [&](const char* name) -> std::optional<std::string> {
    const auto found = environment.find(name);
    return found == environment.end() ? std::nullopt : std::optional<std::string>(found->second);
  });
}

std::string srun(const std::map<std::string, std::string>& environment) {
  return srun_problem([&](const char* name) -> std::optional<std::string> {
    const auto found = environment.find(name);
    return found == environment.end() ? std::nullopt : std::optional<std::string>(found->second);
  });
}

}  // namespace

TEST_CASE("a step of srun without PMI is refused before MPI starts") {
  CHECK(srun({}).empty());
  CHECK(srun({{"SLURM_JOB_ID", "7"}}).empty());  // the batch script itself
  CHECK(srun({{"SLURM_STEP_NUM_TASKS", "2"}, {"PMIX_NAMESPACE", "slurm.pmix.7.0"}}).empty());
  CHECK(srun({{"SLURM_STEP_NUM_TASKS", "1"}, {"OMPI_COMM_WORLD_SIZE", "4"}}).empty());  // the step that holds mpirun's daemon
  CHECK_THAT(srun({{"SLURM_STEP_NUM_TASKS", "2"}}), Catch::Contains("2 tasks") && Catch::Contains("srun --mpi=pmix"));
}

TEST_CASE("launches that agree with MPI are fine") {
  CHECK(problem(1, true, {}).empty());
  CHECK(problem(4, true, {{"OMPI_COMM_WORLD_SIZE", "4"}}).empty());
  CHECK(problem(1, true, {{"OMPI_COMM_WORLD_SIZE", "1"}}).empty());
  CHECK(problem(8, true, {{"SLURM_STEP_NUM_TASKS", "8"}}).empty());
  CHECK(problem(1, false, {{"SLURM_STEP_NUM_TASKS", "1"}}).empty());
  // mpirun -n 1 inside a step of two nodes
  CHECK(problem(1, true, {{"OMPI_COMM_WORLD_SIZE", "1"}, {"SLURM_STEP_NUM_TASKS", "2"}}).empty());
  CHECK(problem(1, true, {{"SLURM_STEP_NUM_TASKS", "many"}}).empty());
}

TEST_CASE("worlds of one under a launcher of many are refused with the fix") {
  CHECK_THAT(problem(1, true, {{"SLURM_STEP_NUM_TASKS", "8"}}), Catch::Contains("expected 8 ranks") && Catch::Contains("srun --mpi=pmix"));
  CHECK_THAT(problem(1, true, {{"PMI_SIZE", "3"}}), Catch::Contains("expected 3 ranks") && Catch::Contains("mpirun"));
  CHECK_THAT(problem(1, true, {{"OMPI_COMM_WORLD_SIZE", "2"}}), Catch::Contains("another MPI"));
  CHECK_THAT(problem(1, false, {{"OMPI_COMM_WORLD_SIZE", "2"}}), Catch::Contains("COHORT_WITH_MPI=ON"));
}

}  // namespace cohort::comm
