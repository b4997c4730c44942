// A build without NCCL.

#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "distributed/roles/rank_team.h"
#include "tests/distributed/worlds.h"

namespace cohort::roles {

TEST_CASE("a tensor on a device, in a build without NCCL, is a Fault that says what is missing") {
  CHECK_FALSE(comm::built_with_nccl());
  RankTeam team(comm::Communicator::self());
  float memory[2] = {1.0F, 2.0F};
  const at::Device device(at::kCUDA, 0);
  const at::Tensor tensor =
      at::for_blob(memory, {2}).options(at::TensorOptions().dtype(at::kFloat).device(device)).target_device(device).make_tensor();
  for (const auto& operation : {&RankTeam::sum, &RankTeam::reduce_scatter, &RankTeam::all_gather})
    CHECK_THAT(test::fault_of([&] { (team.*operation)(tensor); }), Catch::Contains("this build has no NCCL") && Catch::Contains("nccl.h"));
}

}  // namespace cohort::roles
