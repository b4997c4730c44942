#include "core/text/chat/native.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/file.h"
#include "tests/support/golden.h"

using namespace cohort;
using namespace cohort::text;
using json = nlohmann::ordered_json;

namespace {

ChatOptions options(bool add_generation_prompt = false, const json& variables = json::object()) {
  return {.add_generation_prompt = add_generation_prompt, .bos_token = "<s>", .eos_token = "</s>", .variables = variables};
}

std::vector<ChatPart> parts_of(const char* name, const json& messages, const ChatOptions& with = options()) {
  return chat::native_template_named(name)->render(messages, with);
}

std::string problem_with(const char* name, const json& messages, const ChatOptions& with = options()) {
  try {
    parts_of(name, messages, with);
  } catch (const InputError& error) {
    return error.what();
  }
  return "none";
}

json user(const char* content) { return {{"role", "user"}, {"content", content}}; }

}  // namespace

TEST_CASE("the known templates give what Jinja gives", "[text][chat]") {
  const json golden = json::parse(read_file(test::golden_path("text/chat.json"), 1 << 20));
  REQUIRE(golden["texts"].size() == 14);
  for (const auto& [name, texts] : golden["texts"].items()) {
    const auto known = chat::native_template_named(name);
    REQUIRE(known != nullptr);
    CHECK(known->name() == name);
    for (size_t i = 0; i < texts.size(); ++i) {
      const json& conversation = golden["conversations"][i];
      const ChatOptions with = options(conversation["add_generation_prompt"].get<bool>(), conversation["variables"]);
      INFO(name << ": " << conversation.dump());
      if (texts[i].is_null()) {
        CHECK_THROWS_AS(known->render(conversation["messages"], with), InputError);
      } else {
        CHECK(text_of(known->render(conversation["messages"], with)) == texts[i].get<std::string>());
      }
    }
  }
}

TEST_CASE("published templates are recognised by their text", "[text][chat]") {
  const std::string chatml = read_file(test::golden_path("text/chatml.jinja"), 1 << 16);
  const auto name_of = [](const std::string& source) {
    const auto found = chat::find_native_template(source);
    return found == nullptr ? std::string("none") : std::string(found->name());
  };
  CHECK(name_of(chatml) == "chatml");
  CHECK(name_of(chatml.substr(0, chatml.size() - 1)) == "chatml");
  CHECK(name_of(chatml + "\n") == "chatml");
  CHECK(name_of(chatml + "\n\n") == "none");  // Jinja writes the third line end
  CHECK(name_of(chatml + " ") == "none");
  CHECK(name_of(" " + chatml) == "none");
  CHECK(name_of("") == "none");
  const std::vector<std::pair<std::string, std::string>> files = {{"deepseek_r1_distill", "deepseek_r1_distill"},
                                                                  {"deepseek_r1_distill_training", "deepseek_r1_distill_training"},
                                                                  {"deepseekv3", "deepseek_v3"},
                                                                  {"deepseekv3_training", "deepseek_v3_training"},
                                                                  {"llama3", "llama3"},
                                                                  {"llama3_1", "llama3.1"},
                                                                  {"llama3_2", "llama3.2"},
                                                                  {"llama3_training", "llama3"},
                                                                  {"qwen2_5", "qwen2.5"},
                                                                  {"qwen2_5_training", "qwen2.5"},
                                                                  {"qwen3", "qwen3"},
                                                                  {"qwen3_instruct_2507", "qwen3_instruct_2507"},
                                                                  {"qwen3_training", "qwen3_training"},
                                                                  {"gemma3", "none"},
                                                                  {"phi3", "none"}};
  for (const auto& [file, name] : files)
    if (const auto path = test::real_data("chat_templates/" + file + ".jinja")) CHECK(name_of(read_file(*path, 1 << 20)) == name);
  const std::vector<std::pair<std::string, std::string>> tokenizers = {
      {"deepseek_r1", "deepseek_v3_january"}, {"qwen2", "chatml"}, {"qwen2.5", "qwen2.5"}, {"qwen3", "qwen3"}};
  for (const auto& [folder, name] : tokenizers)
    if (const auto config = test::real_data("tokenizers/" + folder + "/tokenizer_config.json"))
      CHECK(load_chat_template(std::filesystem::path(*config).parent_path().string())->name() == name);
}

TEST_CASE("parts say what comes from the messages", "[text][chat]") {
  using Parts = std::vector<ChatPart>;
  const json messages = json::array({user("a<|im_end|>")});
  const Parts expected = {
      {"<|im_start|>", false}, {"user", true}, {"\n", false}, {"a<|im_end|>", true}, {"<|im_end|>\n<|im_start|>assistant\n", false}};
  CHECK((parts_of("qwen3", messages, options(true)) == expected));
  CHECK((parts_of("deepseek_v3", json::array({user("")})) == Parts{{"<s><｜User｜>", false}}));
  const Parts two = {{"<s><｜User｜>", false}, {"x", true}, {"<｜User｜>", false}, {"y", true}};
  CHECK((parts_of("deepseek_v3", json::array({user("x"), user("y")})) == two));
  // A role and a variable are the caller's text too.
  const json messages_of_anyone = json::array({{{"role", "<|eot_id|>"}, {"content", " x "}}});
  std::vector<std::string> given;
  for (const ChatPart& part : parts_of("llama3.1", messages_of_anyone, options(false, {{"date_string", "<|eom_id|>"}})))
    if (part.from_message) given.push_back(part.text);
  CHECK(given == std::vector<std::string>{"<|eom_id|>", "<|eot_id|>", "x"});
}

TEST_CASE("Llama's system turn has the date", "[text][chat]") {
  CHECK_THAT(text_of(parts_of("llama3.1", json::array({user("x")}))), Catch::Contains("Today Date: 26 Jul 2024\n\n<|eot_id|>"));
  // Where no date is given the text does not depend on the day, so that training can be repeated.
  CHECK_THAT(text_of(parts_of("llama3.2", json::array({user("x")}))), Catch::Contains("Today Date: 26 Jul 2024\n"));
  ChatOptions dated = options();
  dated.today.tm_year = 2025 - 1900, dated.today.tm_mon = 1, dated.today.tm_mday = 9;
  CHECK_THAT(text_of(parts_of("llama3.2", json::array({user("x")}), dated)), Catch::Contains("Today Date: 09 Feb 2025\n"));
}

TEST_CASE("what a template cannot write is an error that names it", "[text][chat]") {
  CHECK(problem_with("qwen2.5", json::array()) == "messages: expected at least one, found none");
  CHECK(problem_with("qwen2.5", json::array({{{"role", "user"}}})) == "messages[0].content: expected a string, found nothing");
  CHECK(problem_with("deepseek_v3", json::array({user("a"), {{"role", "user"}, {"content", 5}}})) ==
        "messages[1].content: expected a string, found 5");
  CHECK(problem_with("llama3", json::array({{{"role", "user"}, {"content", json::array({"x"})}}})) ==
        "messages[0].content: expected a string, found array");
  CHECK_THAT(problem_with("llama3.2", json::array({{{"role", "assistant"}, {"tool_calls", json::array()}}})),
             Catch::Contains("a list of one call"));
  CHECK(problem_with("chatml", json::object()) == "messages: expected a list, found object");
  CHECK(problem_with("chatml", json::array({"x"})) == "messages[0]: expected an object, found \"x\"");
  CHECK_THAT(problem_with("chatml", json::array(), options(true, json::array())), Catch::Contains("variables: expected an object"));
  CHECK_THAT(problem_with("chatml", json::array(), options(true, {{"bos_token", "x"}})), Catch::Contains("variables.bos_token"));
  CHECK(chat::native_template_named("qwen") == nullptr);
}
