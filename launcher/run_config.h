#pragma once
/// A recipe from its file and the command line, checked.

#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.h"
#include "core/pipeline/recipe.h"
#include "distributed/comm/communicator.h"

namespace cohort::launcher {

/// Bad input that every rank throws alike, so that one of them can speak for all.
class SharedInputError : public InputError {
 public:
  using InputError::InputError;
};

/// Reads text that stands for `file`, applies "key.path=value" settings, and checks keys, values and the graph of stages. InputError with
/// every problem at once. `ranks` 0: not known.
pipeline::Recipe read_recipe(std::string_view text, const std::string& file, const std::vector<std::string>& settings, int ranks);

/// Reads `path` on every rank. Collective, blocking. SharedInputError when the recipe is bad on any rank, or not the same on all;
/// what only other ranks than 0 found is marked with their number.
pipeline::Recipe load_recipe(const std::string& path, const std::vector<std::string>& settings, int ranks, comm::Communicator& world);

}  // namespace cohort::launcher
