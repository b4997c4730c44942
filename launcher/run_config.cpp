#include "launcher/run_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "core/base/hash.h"
#include "core/base/text_util.h"
#include "core/config/yaml_reader.h"
#include "core/config/yaml_writer.h"

namespace cohort::launcher {
namespace {

/// "file:12: stages.zero.from" of "file:12: stages.zero.from: expected …".
std::string place_of(const std::string& problem) { return problem.substr(0, problem.find(": expected ")); }

/// Whether stages and their types were understood. Otherwise problems of the graph would only be consequences.
bool graph_is_known(const pipeline::Recipe& recipe, const std::vector<std::string>& problems) {
  const auto about_types = [](const std::string& problem) {
    const std::string place = place_of(problem);
    const bool of_stage = place.find(": stages.") != std::string::npos && place.ends_with(".type");
    return of_stage || place.ends_with(": stages");
  };
  return !recipe.stages.empty() && std::none_of(problems.begin(), problems.end(), about_types);
}

/// Problems of the graph that do not repeat what was found at the same key.
void add_problems(std::vector<std::string>& problems, const std::vector<std::string>& more) {
  std::vector<std::string> places;
  for (const std::string& problem : problems) places.push_back(place_of(problem));
  for (const std::string& problem : more)
    if (std::find(places.begin(), places.end(), place_of(problem)) == places.end()) problems.push_back(problem);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

}  // namespace

pipeline::Recipe read_recipe(std::string_view text, const std::string& file, const std::vector<std::string>& settings, int ranks) {
  pipeline::Recipe recipe;
  config::YamlReader reader(text, file, settings);
  if (reader.open_root()) {
    recipe.visit(reader);
    reader.close();
  }
  std::vector<std::string> problems;
  try {
    reader.finish();
  } catch (const InputError& error) {
    problems = error.problems();
  }
  if (problems.empty() || graph_is_known(recipe, problems)) add_problems(problems, pipeline::check_recipe(recipe, reader.places(), ranks));
  if (!problems.empty()) throw InputError(std::move(problems));
  return recipe;
}

pipeline::Recipe load_recipe(const std::string& path, const std::vector<std::string>& settings, int ranks, comm::Communicator& world) {
  pipeline::Recipe recipe;
  std::vector<std::string> problems;
  const std::string kGood = "hash ";
  std::string mine;  // the recipe's hash, or the problems
  try {
    recipe = read_recipe(config::read_config_file(path), path, settings, ranks);
    mine = kGood + xxh3_128_hex(config::write_config(recipe));
  } catch (const InputError& error) {
    mine = join(error.problems(), "\n");
  }

  const std::vector<std::string> all = world.all_gather("recipe", mine);
  const bool good = all.front().starts_with(kGood);
  if (!good) problems = lines_of(all.front());
  for (size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank] == all.front()) continue;
    const bool another = good && all[rank].starts_with(kGood);
    const std::string words = another ? path + ": expected the recipe of rank 0, found another" : all[rank];
    for (const std::string& line : lines_of(words)) problems.push_back(fmt::format("rank {}: {}", rank, line));
  }
  if (!problems.empty()) throw SharedInputError(problems);
  return recipe;
}

}  // namespace cohort::launcher
