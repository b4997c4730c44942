// RankTeam with tensors in device memory. LibTorch is a CPU build: the tensors are made over foreign memory and only say that they are on
// a device.

#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "distributed/roles/rank_team.h"
#include "tests/distributed/comm/device_vector.h"
#include "tests/distributed/worlds.h"
#include "tests/support/fake_nccl.h"

namespace cohort::roles {
namespace {

using comm::Communicator;
using test::contains;
using test::DeviceVector;
using test::everywhere;
using test::expect;
using test::fake_nccl;
using test::fault_of;

comm::NcclOptions on_fake() { return {.check_calls = true, .api = &test::fake_nccl_api()}; }

at::Tensor on_device(const DeviceVector& memory, int device, at::ScalarType type = at::kFloat) {
  const at::Device where(at::kCUDA, static_cast<at::DeviceIndex>(device));
  return at::for_blob(memory.data(), {static_cast<int64_t>(memory.array().length)})
      .options(at::TensorOptions().dtype(type).device(where))
      .target_device(where)
      .make_tensor();
}

std::vector<float> values_of(int rank) {
  std::vector<float> values(13);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(static_cast<int>(i) + 10 * rank);
  return values;
}

/// A team's operations on a device tensor and on a CPU tensor of the same numbers.
void compare(RankTeam& team, int device, const comm::NcclApi& api, int mark) {
  const std::vector<float> mine = values_of(mark);
  at::Tensor on_cpu = at::tensor(mine);
  team.sum(on_cpu);
  const std::vector<float> sum(on_cpu.data_ptr<float>(), on_cpu.data_ptr<float>() + on_cpu.numel());
  const DeviceVector memory(api, mine);
  team.sum(on_device(memory, device));
  expect(memory.values() == sum, "the sum");
  const DeviceVector slices(api, mine);
  team.reduce_scatter(on_device(slices, device));
  const auto [begin, end] = team.slice(static_cast<int64_t>(mine.size()));
  const std::vector<float> scattered = slices.values();
  for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) expect(scattered[i] == sum[i], "my slice");
  team.all_gather(on_device(slices, device));
  expect(slices.values() == sum, "the slices");
  const DeviceVector half(api, {1.0F, 2.0F}, comm::Element::kBfloat16);
  team.sum(on_device(half, device, at::kBFloat16));
  const auto size = static_cast<float>(team.size());
  expect(half.values() == std::vector<float>{size, 2 * size}, "the sum in bf16");
}

}  // namespace

TEST_CASE("a team takes tensors on a device to NCCL, and those on the CPU to the host's communicator (fake device)") {
  everywhere([](Communicator world) {
    test::reset_fake_nccl();
    {
      RankTeam team(world, 0, 1, on_fake());
      at::Tensor on_cpu = at::ones({5});
      team.sum(on_cpu);
      expect(fake_nccl().started == 0, "no NCCL before the first tensor on a device");
      compare(team, 3, test::fake_nccl_api(), world.rank());
      expect(fake_nccl().started == 1 && !fake_nccl().calls.empty(), "one NCCL group");
      const DeviceVector memory(test::fake_nccl_api(), {1.0F, 2.0F});
      expect(contains(fault_of([&] { team.sum(on_device(memory, 4)); }), "on device 4, earlier ones were on 3"), "another device");
      expect(contains(fault_of([&] { team.sum(on_device(memory, 3, at::kInt)); }), "a contiguous fp32 or bf16 tensor on a device"),
             "a type");
      expect(contains(fault_of([&] { team.sum(at::ones({2}, at::kDouble)); }), "fp32 tensor on the CPU"), "a type on the CPU");
    }
    expect(fake_nccl().misuse.empty() && fake_nccl().live_communicators == 0 && fake_nccl().destroyed == 1, "an end in order");
  });
}

TEST_CASE("in placement split the trainers have an NCCL group of their own (fake device)") {
  comm::run_on_threads(
      4,
      [](Communicator world) {
        test::reset_fake_nccl();
        {
          RankTeam team(world, 2, 1, on_fake());
          if (team.trainers() != nullptr) compare(static_cast<RankTeam&>(*team.trainers()), 0, test::fake_nccl_api(), world.rank());
          team.barrier("all");
          expect(fake_nccl().started == (world.rank() < 2 ? 1 : 0), "a group of the trainers only");
        }
        expect(fake_nccl().misuse.empty() && fake_nccl().live_communicators == 0, "an end in order");
      },
      test::impatient());
}

TEST_CASE("ranks that disagree whether a tensor is on a device get a Fault, not a hang") {
  const std::string fault = fault_of([] {
    comm::run_on_threads(
        2,
        [](Communicator world) {
          test::reset_fake_nccl();
          RankTeam team(world, 0, 1, on_fake());
          const DeviceVector memory(test::fake_nccl_api(), {1.0F, 2.0F});
          team.sum(world.rank() == 0 ? at::ones({2}) : on_device(memory, 0));
        },
        test::impatient());
  });
  CHECK_THAT(fault, Catch::Contains("the ranks do not make the same calls"));
}

// scripts/gpu_check.sh runs this on a machine with a GPU per rank.
TEST_CASE("a team takes tensors on a device to NCCL (this machine's GPUs)", "[.][gpu]") {
  const Communicator world = comm::MpiSession::world(test::impatient());
  RankTeam team(world);
  const int device = test::device_of(world);
  test::check_cuda(comm::system_nccl(), comm::system_nccl().cudaSetDevice(device), "cudaSetDevice");
  compare(team, device, comm::system_nccl(), world.rank());
}

}  // namespace cohort::roles
