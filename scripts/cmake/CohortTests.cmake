# The test programs and their ctest entries. Every tests/**/*_test.cpp is found by itself.
#
#   cohort_tests              everything that needs one process (one ctest entry per folder, e.g. core.rl)
#   cohort_distributed_tests  tests/distributed, by itself and under mpirun with 2 and 4 ranks
#   cohort_parser_tests       tests of the parts that read foreign input, under ASan and UBSan (preset asan)

file(GLOB_RECURSE all_tests CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/*_test.cpp")
set(distributed_tests ${all_tests})
list(FILTER distributed_tests INCLUDE REGEX "/tests/distributed/")
set(local_tests ${all_tests})
list(FILTER local_tests EXCLUDE REGEX "/tests/distributed/")
set(parser_tests ${all_tests})
list(FILTER parser_tests INCLUDE REGEX "/tests/core/(base|config|records|text|data|reward)/")
if(NOT COHORT_WITH_MPI)
  list(FILTER distributed_tests EXCLUDE REGEX "/mpi_[^/]*$")
endif()

add_library(test_main OBJECT tests/support/main.cpp)
cohort_compile_options(test_main)
target_link_libraries(test_main PUBLIC Catch2::Catch2)

# cohort_add_tests(NAME RANKS_SOURCE LIBRARIES SOURCES…): RANKS_SOURCE says how the processes of a run find one another.
function(cohort_add_tests name ranks_source libraries)
  add_executable(${name} ${ARGN} ${ranks_source})
  cohort_compile_options(${name})
  target_compile_definitions(${name} PRIVATE COHORT_SOURCE_DIR="${PROJECT_SOURCE_DIR}" COHORT_BINARY_DIR="${PROJECT_BINARY_DIR}")
  target_link_libraries(${name} PRIVATE test_main ${libraries})
endfunction()

# One ctest entry per folder: Catch2's option -# tags each test with its file's name.
function(cohort_register_folders program)
  set(folders)
  foreach(file IN LISTS ARGN)
    get_filename_component(stem "${file}" NAME_WE)
    file(RELATIVE_PATH relative "${PROJECT_SOURCE_DIR}/tests" "${file}")
    get_filename_component(folder "${relative}" DIRECTORY)
    string(REGEX REPLACE "^([^/]+/[^/]+)/.*" "\\1" folder "${folder}")
    string(REPLACE "/" "." folder "${folder}")
    list(APPEND folders ${folder})
    list(APPEND filter_${folder} "[#${stem}]")
  endforeach()
  list(REMOVE_DUPLICATES folders)
  foreach(folder IN LISTS folders)
    list(JOIN filter_${folder} "," filter)
    add_test(NAME ${folder} COMMAND ${program} "-#" -w NoTests "${filter}")
    # Threads that wait for work must not spin: tests run side by side.
    set_tests_properties(${folder} PROPERTIES TIMEOUT 600 ENVIRONMENT OMP_WAIT_POLICY=passive)
  endforeach()
endfunction()

if(COHORT_SANITIZE)
  if(parser_tests)
    cohort_add_tests(cohort_parser_tests tests/support/ranks_self.cpp "core_data;core_reward" ${parser_tests})
    target_precompile_headers(cohort_parser_tests PRIVATE <catch2/catch.hpp>)
    add_test(NAME parsers COMMAND cohort_parser_tests)
  endif()
  return()
endif()
# From the other build folder, so that one ctest runs everything; scripts/test.sh has built it by then.
add_test(NAME parsers_sanitized COMMAND bash -c "scripts/build.sh asan >&2 && build-asan/cohort_parser_tests"
  WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
set_tests_properties(parsers_sanitized PROPERTIES TIMEOUT 1200)

if(local_tests)
  cohort_add_tests(cohort_tests tests/support/ranks_self.cpp launcher ${local_tests})
  target_precompile_headers(cohort_tests PRIVATE <ATen/ATen.h> <catch2/catch.hpp>)
  cohort_register_folders(cohort_tests ${local_tests})
endif()

set(mpi_environment OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1)
if(distributed_tests)
  if(COHORT_WITH_MPI)
    cohort_add_tests(cohort_distributed_tests tests/support/ranks_mpi.cpp launcher ${distributed_tests})
  else()
    cohort_add_tests(cohort_distributed_tests tests/support/ranks_self.cpp launcher ${distributed_tests})
  endif()
  target_precompile_headers(cohort_distributed_tests REUSE_FROM torch_precompiled)
  add_test(NAME distributed.1_rank COMMAND cohort_distributed_tests)
  set_tests_properties(distributed.1_rank PROPERTIES TIMEOUT 600 ENVIRONMENT "${mpi_environment}")
  if(COHORT_WITH_MPI)
    foreach(ranks IN ITEMS 2 4)
      add_test(NAME distributed.${ranks}_ranks
        COMMAND ${MPIEXEC_EXECUTABLE} ${MPIEXEC_NUMPROC_FLAG} ${ranks} --oversubscribe --bind-to none $<TARGET_FILE:cohort_distributed_tests>)
      set_tests_properties(distributed.${ranks}_ranks PROPERTIES TIMEOUT 600 PROCESSORS 2 ENVIRONMENT "${mpi_environment}")
    endforeach()
  endif()
endif()

find_package(Python3 REQUIRED COMPONENTS Interpreter)
add_test(NAME layers COMMAND Python3::Interpreter "${PROJECT_SOURCE_DIR}/scripts/check_layers.py")
add_test(NAME layers_self_test COMMAND Python3::Interpreter "${PROJECT_SOURCE_DIR}/scripts/check_layers.py" --self-test)

file(GLOB end_to_end CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/end_to_end/*.sh")
foreach(script IN LISTS end_to_end)
  get_filename_component(stem "${script}" NAME_WE)
  add_test(NAME end_to_end.${stem} COMMAND bash "${script}" "${PROJECT_BINARY_DIR}" WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
  set_tests_properties(end_to_end.${stem} PROPERTIES LABELS end_to_end TIMEOUT 1200 PROCESSORS 2
    ENVIRONMENT "OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1")
endforeach()
