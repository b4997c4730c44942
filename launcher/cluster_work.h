#pragma once
/// From a recipe to what cluster_plan.h plans with.

#include <vector>

#include "core/pipeline/recipe.h"
#include "launcher/cluster_plan.h"

namespace cohort::launcher {

/// One entry per stage. `mean_response` tokens of an answer or trace on average; 0 is a quarter of the longest. `square_ratio` as in
/// StageWork; 0 is that of length_distribution.h. The recipe must have passed check_recipe.
std::vector<StageWork> cluster_work(const pipeline::Recipe& recipe, double mean_response, double square_ratio);

}  // namespace cohort::launcher
