# Defines the imported target LibTorch: ATen and autograd for CPU, out of the PyPI wheel's folder `torch`.
#
# Looked for in COHORT_TORCH_ROOT (cache or environment), then in .deps/torch, where scripts/setup.sh puts it.
# find_package(Torch) of the wheel itself is not used: it enables the CUDA language and links every GPU library.
#
# libtorch_cpu.so of the CUDA wheel needs libcudart.so.13 and libcupti.so.13 at run time, also where there is no GPU. They are
# taken from .deps/nvidia (small wheels), from wheels beside torch, or from a CUDA 13 toolkit.

set(COHORT_TORCH_ROOT "" CACHE PATH "Folder with LibTorch's include/ and lib/")
if(DEFINED ENV{COHORT_TORCH_ROOT})
  set(COHORT_TORCH_ROOT "$ENV{COHORT_TORCH_ROOT}" CACHE PATH "Folder with LibTorch's include/ and lib/" FORCE)
endif()

# NO_CACHE: a LibTorch that was moved is looked for again.
find_path(LibTorch_INCLUDE_DIR ATen/ATen.h
  HINTS "${COHORT_TORCH_ROOT}/include" "${PROJECT_SOURCE_DIR}/.deps/torch/include" NO_CACHE NO_DEFAULT_PATH)
get_filename_component(LibTorch_ROOT "${LibTorch_INCLUDE_DIR}" DIRECTORY)
find_library(LibTorch_CPU_LIBRARY torch_cpu HINTS "${LibTorch_ROOT}/lib" NO_CACHE NO_DEFAULT_PATH)
find_library(LibTorch_C10_LIBRARY c10 HINTS "${LibTorch_ROOT}/lib" NO_CACHE NO_DEFAULT_PATH)

set(cuda_hints
  "${PROJECT_SOURCE_DIR}/.deps/nvidia/cu13/lib" "${LibTorch_ROOT}/../nvidia/cu13/lib"
  /usr/local/cuda-13.0/lib64 /usr/local/cuda-13/lib64 /usr/local/cuda/lib64 /usr/local/cuda/extras/CUPTI/lib64)
find_file(LibTorch_CUDART_LIBRARY libcudart.so.13 HINTS ${cuda_hints} NO_CACHE NO_DEFAULT_PATH)
find_file(LibTorch_CUPTI_LIBRARY libcupti.so.13 HINTS ${cuda_hints} NO_CACHE NO_DEFAULT_PATH)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY LibTorch_INCLUDE_DIR LibTorch_CUDART_LIBRARY LibTorch_CUPTI_LIBRARY
  REASON_FAILURE_MESSAGE "Run scripts/setup.sh, or set COHORT_TORCH_ROOT to the folder `torch` of an installed wheel.")

if(LibTorch_FOUND AND NOT TARGET LibTorch)
  find_package(OpenMP REQUIRED COMPONENTS CXX)  # at::parallel_for is serial, without a word, in files compiled without it
  find_package(Threads REQUIRED)
  set(runtime_dirs "${LibTorch_ROOT}/lib")
  foreach(library IN ITEMS "${LibTorch_CUDART_LIBRARY}" "${LibTorch_CUPTI_LIBRARY}")
    get_filename_component(folder "${library}" DIRECTORY)
    list(APPEND runtime_dirs "${folder}")
  endforeach()
  list(REMOVE_DUPLICATES runtime_dirs)

  add_library(LibTorch INTERFACE IMPORTED)
  # -idirafter: the wheel ships its own old Protobuf and fmt headers, which must not hide the system's.
  target_compile_options(LibTorch INTERFACE
    "SHELL:-idirafter ${LibTorch_INCLUDE_DIR}" "SHELL:-idirafter ${LibTorch_INCLUDE_DIR}/torch/csrc/api/include")
  target_compile_definitions(LibTorch INTERFACE _GLIBCXX_USE_CXX11_ABI=1)
  target_link_libraries(LibTorch INTERFACE "${LibTorch_CPU_LIBRARY}" "${LibTorch_C10_LIBRARY}" OpenMP::OpenMP_CXX Threads::Threads)
  # The old kind of run path, because only that one is searched for the libraries which libtorch_cpu.so itself needs.
  target_link_options(LibTorch INTERFACE "-Wl,--disable-new-dtags")
  foreach(folder IN LISTS runtime_dirs)
    target_link_options(LibTorch INTERFACE "-Wl,-rpath,${folder}")
  endforeach()
endif()
