#include "core/text/chat/chat_template.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/file.h"
#include "tests/core/base/temp_dir.h"
#include "tests/support/golden.h"

using namespace cohort;
using namespace cohort::text;
using nlohmann::json;

namespace {

void write(const TempDir& folder, const std::string& name, const std::string& content) { std::ofstream(folder / name) << content; }

std::string chatml() { return read_file(test::golden_path("text/chatml.jinja"), 1 << 16); }

std::string problem_with(const std::string& file, const std::string& content) {
  const TempDir folder;
  write(folder, file, content);
  try {
    load_chat_template(folder.path());
  } catch (const InputError& error) {
    return error.what();
  }
  return "none";
}

std::string problem_with_config(const json& value) {
  return problem_with("tokenizer_config.json", json({{"chat_template", value}}).dump());
}

}  // namespace

TEST_CASE("the chat template of a model's folder is found", "[text][chat]") {
  const TempDir folder;
  CHECK(load_chat_template(folder.path()) == nullptr);
  write(folder, "tokenizer_config.json", "{}");
  CHECK(load_chat_template(folder.path()) == nullptr);
  write(folder, "tokenizer_config.json", R"({"chat_template": null})");
  CHECK(load_chat_template(folder.path()) == nullptr);
  write(folder, "tokenizer_config.json", json({{"chat_template", chatml()}}).dump());
  CHECK(load_chat_template(folder.path())->name() == "chatml");
  const json named = json::array({{{"name", "tool_use"}, {"template", "{{ x"}}, {{"name", "default"}, {"template", chatml()}}});
  write(folder, "tokenizer_config.json", json({{"chat_template", named}}).dump());
  CHECK(load_chat_template(folder.path())->name() == "chatml");
  write(folder, "tokenizer_config.json", "no JSON");
  write(folder, "chat_template.jinja", chatml());
  CHECK(load_chat_template(folder.path())->name() == "chatml");  // the file counts
}

TEST_CASE("a chat template outside the model's folder is not read", "[text][chat]") {
  const TempDir folder, elsewhere;
  write(elsewhere, "secret", "BEGIN PRIVATE KEY");
  for (const char* file : {"tokenizer_config.json", "chat_template.jinja"}) {
    std::filesystem::create_symlink(elsewhere / "secret", folder / file);
    CHECK_THROWS_WITH(load_chat_template(folder.path()),
                      Catch::Contains(std::string(file) + ": expected a readable file inside the folder"));
  }
}

TEST_CASE("a chat template that cannot be read is an error that names file and key", "[text][chat]") {
  CHECK_THAT(problem_with_config(5),
             Catch::Contains("tokenizer_config.json: chat_template: expected a string or a list of named templates, found number"));
  CHECK_THAT(problem_with_config(json::array({5})),
             Catch::Contains("chat_template: expected a list of objects with name and template, found number"));
  CHECK_THAT(problem_with_config(json::array({{{"name", "rag"}, {"template", "x"}}})), Catch::Contains("with the name \"default\""));
  CHECK_THAT(problem_with_config(json::array({{{"name", "default"}, {"template", 1}}})), Catch::Contains("expected a string"));
  CHECK_THAT(problem_with("tokenizer_config.json", "[]"), Catch::Contains("tokenizer_config.json: expected an object, found array"));
  CHECK_THAT(problem_with("tokenizer_config.json", "{"), Catch::Contains("tokenizer_config.json"));
  CHECK_THAT(problem_with("chat_template.jinja", "a\xff"),
             Catch::Contains("chat_template.jinja: expected UTF-8, found another byte at offset 1"));
  CHECK_THAT(problem_with("chat_template.jinja", std::string((1 << 20) + 1, 'x')), Catch::Contains("chat_template.jinja"));
  CHECK_THAT(problem_with_config(std::string((1 << 20) + 1, 'x')),
             Catch::Contains("chat_template: expected a template of at most 1048576 bytes"));
}
