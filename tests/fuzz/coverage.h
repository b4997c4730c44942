#pragma once
/// Which edges of the code under test an input reached. The libraries of the sanitizer build are compiled with
/// -fsanitize-coverage=trace-pc, which calls a function of coverage.cpp at every edge.

#include <cstddef>

namespace cohort::fuzz {

/// Forgets the last input's edges.
void start_coverage();
/// Whether the input since start_coverage() reached an edge, or a power of two of passes over it, that no input before it did.
bool found_new_coverage();
/// Different ones so far.
size_t edges_found();

}  // namespace cohort::fuzz
