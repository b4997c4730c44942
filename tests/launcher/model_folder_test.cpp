#include "launcher/model_folder.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/model/weights_io.h"
#include "tests/core/base/temp_dir.h"
#include "tests/support/golden.h"

namespace cohort::launcher {
namespace {

model::Architecture tiny(int64_t vocabulary) {
  model::Architecture a = model::architecture_preset("calibration_a");
  a.vocab_size = vocabulary;
  return a;
}

void write_folder(const TempDir& folder, int64_t vocabulary, const std::string& about) {
  model::save_model(model::CausalLM(tiny(vocabulary), 1), folder.path());
  text::save_tokenizer(text::ByteTokenizer(), folder.path());
  std::ofstream(folder / "cohort_model.json") << about;
}

std::string problem_with(const TempDir& folder, const std::string& template_name = "") {
  try {
    load_model_folder(folder.path(), template_name);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

TEST_CASE("a model folder names its template, unless another is asked for") {
  const TempDir folder;
  write_folder(folder, 272, R"({"template": "chat_think", "stage": "sft"})");
  CHECK(load_model_folder(folder.path(), "").prompt_template->name() == "chat_think");
  CHECK(load_model_folder(folder.path(), "chat").prompt_template->name() == "chat");
  CHECK(load_model_folder(folder.path(), "").positions() == 512);
}

TEST_CASE("folders that are not whole are refused") {
  const TempDir folder;
  CHECK_THROWS_WITH(load_model_folder(folder / "nowhere", ""), folder / "nowhere: expected a folder, found: No such file or directory");
  CHECK_THAT(problem_with(folder), Catch::Contains("cohort_tokenizer.json"));
  CHECK_THAT(problem_with(folder, "plain"), Catch::Contains("cohort_tokenizer.json"));
  text::save_tokenizer(text::ByteTokenizer(), folder.path());
  CHECK_THAT(problem_with(folder), Catch::Contains("cohort_model.json"));
  write_folder(folder, 272, R"({"template": "chat_thick"})");
  CHECK_THAT(problem_with(folder), Catch::Contains("cohort_model.json: template: expected one of") && Catch::Contains("chat_thick"));
  write_folder(folder, 272, R"(["chat"])");
  CHECK_THAT(problem_with(folder), Catch::Contains("cohort_model.json: template: expected the name"));
  write_folder(folder, 100, R"({"template": "plain"})");
  CHECK_THAT(problem_with(folder), Catch::Contains("expected a model for the tokenizer's 272 tokens, found 100"));
}

TEST_CASE("a cohort_model.json outside the folder is not read") {
  const TempDir folder, elsewhere;
  std::ofstream(elsewhere / "about.json") << R"({"template": "chat"})";
  std::filesystem::create_symlink(elsewhere / "about.json", folder / "cohort_model.json");
  CHECK_THROWS_WITH(folder_prompt(folder.path(), ""), Catch::Contains("cohort_model.json: expected a readable file inside the folder"));
}

/// A published model has no cohort_model.json.
TEST_CASE("a chat template that writes no question leaves a folder usable, unless a template is named") {
  const TempDir folder;
  const nlohmann::json golden = nlohmann::json::parse(read_file(test::golden_path("text/bpe_qwen2.json"), 1 << 20));
  model::save_model(model::CausalLM(tiny(2048), 1), folder.path());
  std::ofstream(folder / "tokenizer.json") << golden["tokenizer"].dump();
  const auto load = [&](const std::string& name = "") {
    return load_published_folder(folder.path(), name, model::ComputeType::kFloat32, true);
  };
  CHECK_FALSE(load().prompt_template);
  std::ofstream(folder / "chat_template.jinja") << "{{ messages[0].content }}";
  REQUIRE(load().prompt_template);
  CHECK(load().prompt_template->name() == "model");
  for (const char* useless : {"{{ raise_exception('system first') }}", "{% unknown %}"}) {
    INFO(useless);
    std::ofstream(folder / "chat_template.jinja") << useless;
    CHECK_FALSE(load().prompt_template);
    CHECK(load().tokenizer != nullptr);
    CHECK_THROWS_AS(load("model"), InputError);
  }
  std::ofstream(folder / "chat_template.jinja") << "{{ strftime_now('%Y') }}{{ messages[0].content }}";
  CHECK(load().prompt_template);
}

TEST_CASE("an answer gets the room that it asks for, or what there is") {
  CHECK(answer_length(512, 100, 0, 256) == 256);
  CHECK(answer_length(512, 400, 0, 256) == 112);
  CHECK(answer_length(512, 400, 112, 256) == 112);
  CHECK_THROWS_AS(answer_length(512, 400, 113, 256), InputError);
  CHECK_THROWS_AS(answer_length(512, 512, 0, 256), InputError);
}

}  // namespace
}  // namespace cohort::launcher
