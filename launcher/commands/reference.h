#pragma once
/// configs/reference.yaml: every key of a recipe with its meaning, range and default, made from the config structs.

#include <string>

namespace cohort::launcher {

std::string reference_text();

}  // namespace cohort::launcher
