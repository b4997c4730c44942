# Defines the imported target PyArrow: Apache Arrow's and Parquet's C++ libraries with their headers, out of the PyPI wheel's folder `pyarrow`.
#
# Looked for in COHORT_ARROW_ROOT (cache or environment), then in .deps/arrow, where scripts/setup.sh puts it. The wheel's libraries are built
# with the new C++ ABI (_GLIBCXX_USE_CXX11_ABI=1), as everything here, and need nothing but the C++ and C libraries.

set(COHORT_ARROW_ROOT "" CACHE PATH "Folder with Arrow's include/ and lib*.so")
if(DEFINED ENV{COHORT_ARROW_ROOT})
  set(COHORT_ARROW_ROOT "$ENV{COHORT_ARROW_ROOT}" CACHE PATH "Folder with Arrow's include/ and lib*.so" FORCE)
endif()

find_path(PyArrow_INCLUDE_DIR parquet/arrow/reader.h
  HINTS "${COHORT_ARROW_ROOT}/include" "${PROJECT_SOURCE_DIR}/.deps/arrow/include" NO_CACHE NO_DEFAULT_PATH)
get_filename_component(PyArrow_ROOT "${PyArrow_INCLUDE_DIR}" DIRECTORY)
# The wheel has no libarrow.so, only the name with the version in it.
file(GLOB PyArrow_LIBRARY "${PyArrow_ROOT}/libarrow.so.[0-9]*")
file(GLOB PyArrow_PARQUET_LIBRARY "${PyArrow_ROOT}/libparquet.so.[0-9]*")

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(PyArrow REQUIRED_VARS PyArrow_INCLUDE_DIR PyArrow_LIBRARY PyArrow_PARQUET_LIBRARY
  REASON_FAILURE_MESSAGE "Run scripts/setup.sh, or set COHORT_ARROW_ROOT to the folder `pyarrow` of an installed wheel.")

if(PyArrow_FOUND AND NOT TARGET PyArrow)
  add_library(PyArrow INTERFACE IMPORTED)
  target_include_directories(PyArrow SYSTEM INTERFACE "${PyArrow_INCLUDE_DIR}")
  target_link_libraries(PyArrow INTERFACE "${PyArrow_PARQUET_LIBRARY}" "${PyArrow_LIBRARY}")
  target_link_options(PyArrow INTERFACE "-Wl,-rpath,${PyArrow_ROOT}")
endif()
