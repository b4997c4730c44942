#include "distributed/comm/nccl_api.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include "core/base/error.h"

namespace cohort::comm {
namespace {

constexpr int kOldest = NCCL_VERSION(2, 14, 0);  // the first that starts without blocking

class Library {
 public:
  explicit Library(const std::string& name) : name_(name), handle_(dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ != nullptr) return;
    const char* why = dlerror();
    throw Fault(fmt::format("NCCL cannot be used: {} was not loaded ({})", name, why == nullptr ? "no reason given" : why));
  }

  template <class Function>
  void find(const char* function, Function& out) const {
    void* address = dlsym(handle_, function);
    if (address == nullptr) throw Fault(fmt::format("NCCL cannot be used: {} has no function {}", name_, function));
    out = reinterpret_cast<Function>(address);
  }

 private:
  std::string name_;
  void* handle_;  // never closed: its functions are in use until the process ends
};

/// The name under which the toolkit's runtime is loaded: by major version from 12 on.
std::string cuda_runtime_name() {
  constexpr int kMajor = CUDART_VERSION / 1000;
  return fmt::format("libcudart.so.{}{}", kMajor, kMajor == 11 ? ".0" : "");
}

}  // namespace

NcclApi load_nccl(const std::string& nccl_library, const std::string& cuda_library) {
  NcclApi api;
  const Library cuda(cuda_library);
#define COHORT_FIND(name, arguments) cuda.find(#name, api.name);
  COHORT_CUDA_FUNCTIONS(COHORT_FIND)
#undef COHORT_FIND
  cuda.find("cudaGetErrorString", api.cudaGetErrorString);
  const Library nccl(nccl_library);
#define COHORT_FIND(name) nccl.find(#name, api.name);
  COHORT_NCCL_FUNCTIONS(COHORT_FIND)
#undef COHORT_FIND
  int version = 0;
  if (api.ncclGetVersion(&version) != ncclSuccess || version < kOldest)
    throw Fault(fmt::format("NCCL cannot be used: {} is of version {}, expected {} (2.14) or later", nccl_library, version, kOldest));
  return api;
}

const NcclApi& system_nccl() {
  static const NcclApi api = load_nccl("libnccl.so.2", cuda_runtime_name());
  return api;
}

}  // namespace cohort::comm
