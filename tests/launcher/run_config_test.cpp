#include "launcher/run_config.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>

#include "core/base/file.h"
#include "tests/core/base/temp_dir.h"
#include "tests/support/golden.h"

namespace cohort::launcher {
namespace {

/// Whether the files that a recipe names as $COHORT_DATA/… are there.
bool has_real_data(const std::string& recipe) {
  const std::string variable = "$COHORT_DATA/";
  for (size_t i = recipe.find(variable); i != std::string::npos; i = recipe.find(variable, i + 1)) {
    const size_t begin = i + variable.size();
    if (!test::real_data(recipe.substr(begin, recipe.find_first_of(" ,}\n", begin) - begin))) return false;
  }
  return true;
}

TEST_CASE("every recipe of configs/ passes the check on 1, 2 and 4 ranks") {
  comm::Communicator world = comm::Communicator::self();
  int checked = 0;
  for (const auto& entry : std::filesystem::directory_iterator(test::source_path("configs"))) {
    const std::string path = entry.path().string();
    if (entry.path().extension() != ".yaml" || entry.path().filename() == "reference.yaml") continue;
    const std::string recipe = read_file(path, 1 << 20);
    if (recipe.find("tokenizer: {type: model}") != std::string::npos) continue;  // tests/end_to_end/real_configs.sh
    CAPTURE(path);
    if (!has_real_data(recipe)) continue;
    for (const int ranks : {1, 2, 4}) CHECK_NOTHROW(load_recipe(path, {"model.path="}, ranks, world));  // no trained model is at hand here
    ++checked;
  }
  CHECK(checked > 0);
}

TEST_CASE("a file that is not there is one problem") {
  comm::Communicator world = comm::Communicator::self();
  const TempDir folder;
  try {
    load_recipe(folder / "none.yaml", {}, 1, world);
    FAIL("a missing file was read");
  } catch (const SharedInputError& error) {
    REQUIRE(error.problems().size() == 1);
    CHECK_THAT(error.problems()[0], Catch::Contains(folder / "none.yaml"));
  }
}

}  // namespace
}  // namespace cohort::launcher
