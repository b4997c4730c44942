#pragma once
/// The functions of NCCL and of the CUDA runtime that NcclGroup uses, as a table. Compiled only where nccl.h and cuda_runtime.h are.
///
/// The table is filled from the shared libraries at first use, so that one program runs with and without a GPU; tests fill it with
/// functions of their own (tests/support/fake_nccl.h).

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <string>

#if NCCL_VERSION_CODE < NCCL_VERSION(2, 14, 0)
#error "NCCL 2.14 or later is needed: earlier ones cannot start without blocking. Configure with -DCOHORT_WITH_NCCL=OFF to build without"
#endif

namespace cohort::comm {

#define COHORT_NCCL_FUNCTIONS(X) \
  X(ncclGetVersion)              \
  X(ncclGetUniqueId)             \
  X(ncclGetErrorString)          \
  X(ncclGetLastError)            \
  X(ncclCommInitRankConfig)      \
  X(ncclCommGetAsyncError)       \
  X(ncclCommFinalize)            \
  X(ncclCommDestroy)             \
  X(ncclCommAbort)               \
  X(ncclGroupStart)              \
  X(ncclGroupEnd)                \
  X(ncclAllReduce)               \
  X(ncclReduce)                  \
  X(ncclReduceScatter)           \
  X(ncclAllGather)               \
  X(ncclBroadcast)               \
  X(ncclSend)                    \
  X(ncclRecv)

// With their types, because cuda_runtime.h overloads some of the names.
#define COHORT_CUDA_FUNCTIONS(X)                        \
  X(cudaGetDeviceCount, (int*))                         \
  X(cudaGetDevice, (int*))                              \
  X(cudaSetDevice, (int))                               \
  X(cudaGetLastError, ())                               \
  X(cudaEventCreateWithFlags, (cudaEvent_t*, unsigned)) \
  X(cudaEventRecord, (cudaEvent_t, cudaStream_t))       \
  X(cudaEventQuery, (cudaEvent_t))                      \
  X(cudaEventDestroy, (cudaEvent_t))                    \
  X(cudaMalloc, (void**, size_t))                       \
  X(cudaFree, (void*))                                  \
  X(cudaMemcpy, (void*, const void*, size_t, cudaMemcpyKind)) /* for tests: a group moves nothing between host and device */

struct NcclApi {
#define COHORT_MEMBER(name) decltype(&::name) name = nullptr;
  COHORT_NCCL_FUNCTIONS(COHORT_MEMBER)
#undef COHORT_MEMBER
#define COHORT_MEMBER(name, arguments) cudaError_t(*name) arguments = nullptr;
  COHORT_CUDA_FUNCTIONS(COHORT_MEMBER)
#undef COHORT_MEMBER
  const char* (*cudaGetErrorString)(cudaError_t) = nullptr;
};

/// Fills a table from two shared libraries, which stay loaded. Fault naming the library or function that was not found, or the version of
/// an NCCL that is too old. Thread-safe.
NcclApi load_nccl(const std::string& nccl_library, const std::string& cuda_library);

/// libnccl.so.2, and the libcudart of the toolkit that this was compiled with; loaded at the first call. Throws as load_nccl does.
const NcclApi& system_nccl();

}  // namespace cohort::comm
