#include "core/model/end_tokens.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "core/base/error.h"
#include "tests/core/base/temp_dir.h"

namespace cohort::model {
namespace {

using Ids = std::vector<int32_t>;

void write(const TempDir& folder, const char* name, const char* text) { std::ofstream(folder / name) << text; }

TEST_CASE("end tokens are those of generation_config.json, or else of config.json, one or several") {
  const TempDir folder;
  CHECK(read_end_tokens(folder.path(), 10).empty());
  write(folder, "config.json", R"({"eos_token_id": 3})");
  CHECK(read_end_tokens(folder.path(), 10) == Ids{3});
  write(folder, "generation_config.json", R"({"eos_token_id": [9, 1]})");
  CHECK(read_end_tokens(folder.path(), 10) == Ids{9, 1});
  write(folder, "generation_config.json", R"({"eos_token_id": null})");
  CHECK(read_end_tokens(folder.path(), 10) == Ids{3});
  write(folder, "generation_config.json", R"({"temperature": 0.6})");
  CHECK(read_end_tokens(folder.path(), 10) == Ids{3});
}

TEST_CASE("end tokens of a file outside the folder are not read") {
  const TempDir folder, elsewhere;
  write(elsewhere, "config.json", R"({"eos_token_id": 3})");
  std::filesystem::create_symlink(elsewhere / "config.json", folder / "generation_config.json");
  CHECK_THROWS_WITH(read_end_tokens(folder.path(), 10), Catch::Contains("generation_config.json: expected a readable file inside"));
}

TEST_CASE("end tokens that the model does not have are refused") {
  const TempDir folder;
  for (const char* bad : {R"({"eos_token_id": 10})", R"({"eos_token_id": [1, -1]})", R"({"eos_token_id": "1"})", R"({"eos_token_id": 1.0})",
                          R"({"eos_token_id": [[1]]})", R"({"eos_token_id": 18446744073709551615})", R"([1])"}) {
    CAPTURE(bad);
    write(folder, "generation_config.json", bad);
    CHECK_THROWS_AS(read_end_tokens(folder.path(), 10), InputError);
  }
}

}  // namespace
}  // namespace cohort::model
