# The headers of NCCL and of the CUDA runtime. NCCL_INCLUDE_DIR and NCCL_CUDA_INCLUDE_DIR name their folders; set them where the headers lie
# elsewhere than with a CUDA toolkit or in the system's own folders.

set(cuda_hints ENV CUDA_HOME ENV CUDA_PATH)
find_path(NCCL_INCLUDE_DIR nccl.h HINTS ENV NCCL_HOME ${cuda_hints} PATHS /usr/local/cuda PATH_SUFFIXES include)
find_path(NCCL_CUDA_INCLUDE_DIR cuda_runtime.h HINTS ${cuda_hints} PATHS /usr/local/cuda PATH_SUFFIXES include)
mark_as_advanced(NCCL_INCLUDE_DIR NCCL_CUDA_INCLUDE_DIR)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(NCCL REQUIRED_VARS NCCL_INCLUDE_DIR NCCL_CUDA_INCLUDE_DIR)
