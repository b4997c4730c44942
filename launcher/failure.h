#pragma once
/// What is said of an exception that ends a rank.

#include <exception>
#include <string>

namespace cohort::launcher {

/// The message, on one line. Memory that could not be had is reported as such, with the bytes that were asked for where the allocator tells
/// (LibTorch's does, operator new does not) and what the process holds and may hold.
std::string describe_failure(const std::exception& error);

}  // namespace cohort::launcher
