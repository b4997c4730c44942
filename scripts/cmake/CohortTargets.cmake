# How cohort's libraries and tests are declared. New .cpp, .proto and test files are found by themselves.

set(cohort_generated_dir "${PROJECT_BINARY_DIR}/generated")
set(cohort_warnings -Wall -Wextra -Wpedantic -Wshadow=local -Wnon-virtual-dtor -Woverloaded-virtual)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # False alarms in std::string of g++ 12 (GCC bugs 105329 and 105651); the sanitizer build looks for the real ones.
  list(APPEND cohort_warnings -Wno-restrict -Wno-array-bounds -Wno-stringop-overflow)
endif()

# Calls tests/fuzz/coverage.cpp at every edge: what the fuzzer steers by.
set(cohort_coverage "$<$<BOOL:${COHORT_SANITIZE}>:-fsanitize-coverage=trace-pc>")

function(cohort_compile_options target)
  target_include_directories(${target} PUBLIC "${PROJECT_SOURCE_DIR}")
  target_compile_options(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:${cohort_warnings}>")
  set_target_properties(${target} PROPERTIES COMPILE_WARNING_AS_ERROR ${COHORT_WARNINGS_AS_ERRORS})
endfunction()

# Files for one level of x86-64 are named after it; they are called only after a check at run time.
function(cohort_cpu_flags)
  foreach(file IN LISTS ARGN)
    if(file MATCHES "_avx512\\.cpp$")
      set_source_files_properties("${file}" PROPERTIES COMPILE_OPTIONS "-march=x86-64-v4;-mprefer-vector-width=512" SKIP_PRECOMPILE_HEADERS ON)
    elseif(file MATCHES "_avx2\\.cpp$")
      set_source_files_properties("${file}" PROPERTIES COMPILE_OPTIONS "-march=x86-64-v3" SKIP_PRECOMPILE_HEADERS ON)
    endif()
  endforeach()
endfunction()

# Adds the generated sources of a folder's .proto files to `sources`; included as "core/records/records.pb.h".
function(cohort_generate_protobuf target)
  set(generated)
  foreach(proto IN LISTS ARGN)
    file(RELATIVE_PATH relative "${PROJECT_SOURCE_DIR}" "${proto}")
    string(REGEX REPLACE "\\.proto$" "" stem "${cohort_generated_dir}/${relative}")
    add_custom_command(OUTPUT "${stem}.pb.cc" "${stem}.pb.h"
      COMMAND protobuf::protoc "--cpp_out=${cohort_generated_dir}" "-I${PROJECT_SOURCE_DIR}" "${proto}"
      DEPENDS "${proto}" COMMENT "protoc ${relative}" VERBATIM)
    list(APPEND generated "${stem}.pb.cc" "${stem}.pb.h")
  endforeach()
  file(MAKE_DIRECTORY "${cohort_generated_dir}")
  add_library(${target} STATIC ${generated})
  target_include_directories(${target} SYSTEM PUBLIC "${cohort_generated_dir}")  # SYSTEM: our warnings do not apply to protoc's code
  target_link_libraries(${target} PUBLIC protobuf::libprotobuf)
  target_compile_options(${target} PRIVATE -w)
endfunction()

# cohort_add_library(NAME FOLDER [TORCH | OWN_FLAGS] [EXCLUDE regex] [LINK targets…])
# One static library of all sources below FOLDER (header-only or .proto-only folders become an interface library). LINK names the layers below.
# TORCH: links LibTorch and uses the precompiled headers that have <ATen/ATen.h>, which takes a file from nine seconds to two.
# OWN_FLAGS: the caller adds flags that the precompiled headers were not compiled with, so none are used.
function(cohort_add_library name folder)
  cmake_parse_arguments(arg "TORCH;OWN_FLAGS" "EXCLUDE" "LINK" ${ARGN})
  set(path "${PROJECT_SOURCE_DIR}/${folder}")
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${path}/*.cpp")
  file(GLOB_RECURSE protos CONFIGURE_DEPENDS "${path}/*.proto")
  if(arg_EXCLUDE)
    list(FILTER sources EXCLUDE REGEX "${arg_EXCLUDE}")
  endif()

  if(sources)
    add_library(${name} STATIC ${sources})
    cohort_compile_options(${name})
    target_compile_options(${name} PRIVATE "${cohort_coverage}")
    cohort_cpu_flags(${sources})
    set(scope PUBLIC)
  else()
    add_library(${name} INTERFACE)
    target_include_directories(${name} INTERFACE "${PROJECT_SOURCE_DIR}")
    set(scope INTERFACE)
  endif()
  if(protos)
    cohort_generate_protobuf(${name}_proto ${protos})
    target_link_libraries(${name} ${scope} ${name}_proto)
  endif()
  target_link_libraries(${name} ${scope} ${arg_LINK})
  set(precompiled text_precompiled)
  if(arg_TORCH)
    target_link_libraries(${name} ${scope} LibTorch)
    set(precompiled torch_precompiled)
  endif()
  if(sources AND NOT arg_OWN_FLAGS)
    target_precompile_headers(${name} REUSE_FROM ${precompiled})
  endif()
endfunction()

# What most files include and what takes the compiler longest. A file still includes what it uses: kernels are compiled without these.
set(cohort_precompiled <nlohmann/json.hpp> <google/protobuf/generated_message_reflection.h> <fmt/format.h> <functional> <map> <string> <vector>)

# cohort_add_precompiled(NAME HEADERS LINK…): the precompiled headers of many libraries (0.4 GB with LibTorch's, so one is enough). The targets it
# serves must agree in the flags that g++ compares; where they do not, -Winvalid-pch is an error.
function(cohort_add_precompiled name headers)
  file(CONFIGURE OUTPUT "${cohort_generated_dir}/${name}.cpp" CONTENT "")
  add_library(${name} OBJECT "${cohort_generated_dir}/${name}.cpp")
  cohort_compile_options(${name})
  target_compile_options(${name} PRIVATE "${cohort_coverage}")
  target_link_libraries(${name} PRIVATE ${ARGN})
  target_precompile_headers(${name} PRIVATE ${headers} ${cohort_precompiled})
endfunction()
