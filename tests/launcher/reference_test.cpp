#include "launcher/commands/reference.h"

#include <catch2/catch.hpp>

#include "core/base/file.h"
#include "core/config/yaml_reader.h"
#include "core/config/yaml_writer.h"
#include "core/pipeline/recipe.h"
#include "tests/support/golden.h"

namespace cohort::launcher {
namespace {

TEST_CASE("configs/reference.yaml is what the config structs say") {
  INFO("make it again: build/cohort reference > configs/reference.yaml");
  CHECK(read_file(test::source_path("configs/reference.yaml"), 1 << 20) == reference_text());
}

TEST_CASE("the reference reads back as the defaults") {
  const auto read = config::read_config_text<pipeline::Recipe>(reference_text(), "reference.yaml");
  CHECK(config::write_config(read) == config::write_config(pipeline::Recipe{}));
}

}  // namespace
}  // namespace cohort::launcher
