// nccl_group.h for a build without NCCL. nccl_group.cpp and nccl_api.cpp take the place of this file where nccl.h and cuda_runtime.h are.

#include "core/base/error.h"
#include "distributed/comm/nccl_group.h"

namespace cohort::comm {
namespace {

[[noreturn]] void missing() {
  throw Fault(
      "this build has no NCCL, which tensors in device memory need: nccl.h or cuda_runtime.h was not found when it was configured, or "
      "COHORT_WITH_NCCL was OFF");
}

}  // namespace

struct NcclGroup::State {};

NcclGroup::NcclGroup(Communicator /*host*/, int /*device*/, const NcclOptions& /*options*/) { missing(); }
NcclGroup::~NcclGroup() = default;

int NcclGroup::rank() const { missing(); }
int NcclGroup::size() const { missing(); }
int NcclGroup::device() const { missing(); }
void NcclGroup::sum(std::string_view, DeviceArray, DeviceStream) { missing(); }
void NcclGroup::reduce_scatter(std::string_view, DeviceArray, DeviceStream) { missing(); }
void NcclGroup::all_gather_slices(std::string_view, DeviceArray, DeviceStream) { missing(); }
void NcclGroup::broadcast(std::string_view, DeviceArray, int, DeviceStream) { missing(); }
void NcclGroup::all_to_all(std::string_view, DeviceArray, std::span<const size_t>, DeviceArray, std::span<const size_t>, DeviceStream) {
  missing();
}
void NcclGroup::barrier(std::string_view, DeviceStream) { missing(); }

bool built_with_nccl() { return false; }

}  // namespace cohort::comm
