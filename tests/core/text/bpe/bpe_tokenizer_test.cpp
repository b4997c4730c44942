#include "core/text/bpe/bpe_tokenizer.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/random.h"
#include "core/base/text_util.h"
#include "core/text/utf8.h"
#include "tests/core/base/temp_dir.h"
#include "tests/support/golden.h"

using namespace cohort;
using namespace cohort::text;
using nlohmann::json;

namespace {

const std::vector<std::string> kGoldens = {"qwen2", "deepseek", "llama3", "smollm", "gpt2", "flags", "foreign", "empty", "behaviors"};

json golden(const std::string& name) { return json::parse(read_file(test::golden_path("text/bpe_" + name + ".json"), 1 << 20)); }

void write(const TempDir& folder, const std::string& name, const std::string& content) { std::ofstream(folder / name) << content; }

std::unique_ptr<bpe::BpeTokenizer> load(const json& tokenizer, const std::string& config = "", const std::string& generation = "") {
  const TempDir folder;
  write(folder, "tokenizer.json", tokenizer.dump());
  if (!config.empty()) write(folder, "tokenizer_config.json", config);
  if (!generation.empty()) write(folder, "generation_config.json", generation);
  return bpe::load_bpe_tokenizer(folder.path());
}

std::string problem_with(const json& tokenizer, const std::string& config, const std::string& generation = "") {
  try {
    load(tokenizer, config, generation);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

/// The smallest useful tokenizer: a, b, ab and three added tokens. The id 3 has no token.
json small() {
  return json::parse(R"({"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "c": 4}, "merges": [["a", "b"]]},
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}, "decoder": {"type": "ByteLevel"},
    "added_tokens": [{"id": 4, "content": "c", "special": false, "normalized": false},
                     {"id": 5, "content": "<end>", "special": true, "normalized": false},
                     {"id": 6, "content": "<think>", "special": false, "normalized": false}]})");
}

std::vector<std::vector<uint32_t>> pairs(const std::vector<bpe::Span>& spans) {
  std::vector<std::vector<uint32_t>> result;
  for (const bpe::Span& span : spans) result.push_back({span.begin, span.end});
  return result;
}

}  // namespace

TEST_CASE("ids, offsets and texts are those of tokenizers", "[text][bpe]") {
  const std::string name = GENERATE(from_range(kGoldens));
  const json data = golden(name);
  const auto tokenizer = load(data["tokenizer"]);
  INFO(name);
  for (const json& each : data["cases"]) {
    const std::string text = each["text"];
    INFO(json(text).dump(-1, ' ', true));
    const bpe::Encoding encoding = tokenizer->encode_with_offsets(text, true);
    CHECK(encoding.ids == each["ids"].get<std::vector<int32_t>>());
    CHECK(pairs(encoding.offsets) == each["offsets"].get<std::vector<std::vector<uint32_t>>>());
    CHECK(tokenizer->encode_with_added_tokens(text, true) == encoding.ids);
    CHECK(tokenizer->encode(text) == each["plain"].get<std::vector<int32_t>>());
    CHECK(replace_invalid_sequences(tokenizer->decode(encoding.ids)) == each["decoded"].get<std::string>());
    CHECK(replace_invalid_sequences(tokenizer->decode(encoding.ids, SpecialTokens::kSkip)) == each["skipped"].get<std::string>());
  }
  for (const json& each : data["pieces"])
    CHECK(replace_invalid_sequences(tokenizer->decode(each["ids"].get<std::vector<int32_t>>())) == each["decoded"].get<std::string>());
}

TEST_CASE("streamed pieces add up to the whole text at every split", "[text][bpe]") {
  const auto tokenizer = load(golden("qwen2")["tokenizer"]);
  RandomStream stream(7, "bpe stream test");
  for (int round = 0; round < 300; ++round) {
    std::vector<int32_t> ids(stream.below(12));
    for (int32_t& id : ids)
      id = static_cast<int32_t>(stream.below(round % 2 == 0 ? 256 : static_cast<uint64_t>(tokenizer->vocabulary_size())));
    IncrementalDecoder decoder(*tokenizer);
    std::string text;
    for (size_t i = 0; i < ids.size(); ++i) {
      text += decoder.push(ids[i]);
      const std::string whole = tokenizer->decode(std::span(ids).first(i + 1));
      CHECK(text == whole.substr(0, whole.size() - incomplete_tail(whole)));
    }
    CHECK(text + decoder.finish() == tokenizer->decode(ids));
  }
}

TEST_CASE("bytes that are not UTF-8 survive where every byte has a token", "[text][bpe]") {
  for (const char* name : {"deepseek", "llama3", "foreign"}) {
    const auto tokenizer = load(golden(name)["tokenizer"]);
    RandomStream stream(11, name);
    for (int round = 0; round < 200; ++round) {
      std::string text(stream.below(30), '\0');
      for (char& byte : text) byte = static_cast<char>(stream.below(256));
      CHECK(tokenizer->decode(tokenizer->encode(text)) == text);
    }
  }
}

TEST_CASE("plain text never becomes an added token", "[text][bpe]") {
  const auto tokenizer = load(golden("qwen2")["tokenizer"]);
  const int32_t think = tokenizer->special_id(kThinkOpen).value();
  CHECK(tokenizer->encode_with_added_tokens("x<think>y", false)[1] == think);
  for (const int32_t id : tokenizer->encode("x<think>y<|im_end|>")) CHECK_FALSE(tokenizer->is_special(id));
  CHECK(tokenizer->decode(std::vector<int32_t>{think}) == "<think>");
  CHECK(tokenizer->decode(std::vector<int32_t>{think}, SpecialTokens::kSkip) == "<think>");  // added, but not special
}

TEST_CASE("an id without token is empty and known as such", "[text][bpe]") {
  const auto tokenizer = load(small());
  CHECK(tokenizer->vocabulary_size() == 7);
  CHECK(tokenizer->missing_ids() == std::vector<int32_t>{3});
  CHECK_FALSE(tokenizer->has_token(3));
  CHECK_FALSE(tokenizer->has_token(7));
  CHECK_FALSE(tokenizer->has_token(-1));
  CHECK(tokenizer->has_token(6));
  CHECK(tokenizer->piece(3) == "");
  CHECK(tokenizer->decode(std::vector<int32_t>{2, 3, 1}) == "abb");
  CHECK_THROWS_AS(tokenizer->piece(7), Fault);
  CHECK(tokenizer->encode("aabzb") == std::vector<int32_t>{0, 2, 1});  // z has no token and is lost
}

TEST_CASE("ends come from the tokenizer's and the generation's configuration", "[text][bpe]") {
  const auto tokenizer = load(
      small(), R"({"bos_token": {"content": "<think>"}, "eos_token": "<end>", "pad_token": "c", "add_bos_token": true, "chat_template": "x",
                        "added_tokens_decoder": {"5": {"content": "<end>"}}})",
      R"({"eos_token_id": [2, 5]})");
  CHECK(tokenizer->end_id() == 5);
  CHECK(tokenizer->end_ids() == std::vector<int32_t>{5, 2});
  CHECK(tokenizer->is_end(2));
  CHECK_FALSE(tokenizer->is_end(1));
  CHECK(tokenizer->bos_id() == 6);
  CHECK(tokenizer->pad_id() == 4);
  CHECK(tokenizer->begin_ids() == std::vector<int32_t>{6});

  const auto bare = load(small());
  CHECK(bare->begin_ids().empty());
  CHECK(bare->end_ids().empty());
  CHECK_THROWS_AS(bare->end_id(), InputError);
  CHECK_FALSE(bare->bos_id().has_value());
  CHECK(load(small(), "", R"({"eos_token_id": 2})")->end_id() == 2);
}

TEST_CASE("a configuration that contradicts tokenizer.json is refused", "[text][bpe]") {
  const auto bad = [](const std::string& config) { return problem_with(small(), config); };
  CHECK_THAT(bad(R"({"eos_token": "<eos>"})"), Catch::Contains("tokenizer_config.json: eos_token: expected one of the added_tokens"));
  CHECK_THAT(bad(R"({"eos_token": 3})"), Catch::Contains("eos_token: expected a token or null, found number"));
  CHECK_THAT(bad(R"({"add_bos_token": true})"), Catch::Contains("add_bos_token: expected a bos_token with it"));
  CHECK_THAT(bad(R"({"add_bos_token": 1})"), Catch::Contains("add_bos_token: expected true or false"));
  CHECK_THAT(bad(R"({"added_tokens_decoder": {"6": {"content": "<end>"}}})"),
             Catch::Contains("added_tokens_decoder.6: expected \"<end>\" as the token 5"));
  CHECK_THAT(bad(R"({"added_tokens_decoder": {"6": {"content": "<other>"}}})"), Catch::Contains("expected one of the added_tokens"));
  CHECK_THAT(bad(R"({"added_tokens_decoder": []})"), Catch::Contains("added_tokens_decoder: expected an object"));
  CHECK_THAT(bad("[]"), Catch::Contains("expected an object"));
  CHECK_THAT(bad("{"), Catch::Contains("expected JSON"));
  for (const char* ids : {"3", "7", "-1", "1.5", "\"5\"", "[2, 99999999999]", "[[2]]"})
    CHECK_THAT(problem_with(small(), "", std::string(R"({"eos_token_id": )") + ids + "}"),
               Catch::Contains("generation_config.json: eos_token_id: expected ids of tokens"));
}

TEST_CASE("a published tokenizer is written as it was read", "[text][bpe]") {
  const TempDir folder, copy;
  const std::string tokenizer = golden("llama3")["tokenizer"].dump(2), config = "{\"eos_token\": \"</s>\"}  ", generation = "{}\n";
  write(folder, "tokenizer.json", tokenizer), write(folder, "tokenizer_config.json", config),
      write(folder, "generation_config.json", generation);
  const auto loaded = load_tokenizer(folder.path());
  save_tokenizer(*loaded, copy.path());
  CHECK(read_file(copy / "tokenizer.json", 1 << 20) == tokenizer);
  CHECK(read_file(copy / "tokenizer_config.json", 1 << 20) == config);
  CHECK(read_file(copy / "generation_config.json", 1 << 20) == generation);
  CHECK(load_tokenizer(copy.path())->to_json() == loaded->to_json());
  write(copy, kTokenizerFile, ByteTokenizer().to_json().dump());
  CHECK(load_tokenizer(copy.path())->vocabulary_size() == 272);  // cohort's own file counts
}

TEST_CASE("files of a tokenizer outside its folder are not read", "[text][bpe]") {
  const TempDir elsewhere;
  write(elsewhere, "file", small().dump());
  for (const char* file :
       {"tokenizer.json", "tokenizer_config.json", "generation_config.json", "config.json", "chat_template.jinja", kTokenizerFile}) {
    INFO(file);
    const TempDir folder;
    write(folder, "tokenizer.json", small().dump());
    std::filesystem::remove(folder / file);
    std::filesystem::create_symlink(elsewhere / "file", folder / file);
    CHECK_THROWS_WITH(load_tokenizer(folder.path()), Catch::Contains(std::string(file) + ": expected a readable file inside the folder"));
  }
  const TempDir folder;  // a link within it is fine
  write(folder, "own.json", small().dump());
  std::filesystem::create_symlink("own.json", folder / "tokenizer.json");
  CHECK(load_tokenizer(folder.path())->vocabulary_size() == 7);
}

TEST_CASE("the published tokenizers give the ids that are known", "[text][bpe]") {
  const auto qwen2_folder = test::real_data("tokenizers/qwen2"), deepseek_folder = test::real_data("tokenizers/deepseek_r1");
  const auto naughty_strings = test::real_data("text/naughty_strings.txt");
  if (!qwen2_folder || !deepseek_folder || !naughty_strings) return;
  const std::string text = "Hello, 世界! 12345 <think>\n";
  const auto qwen2 = load_tokenizer(*qwen2_folder);
  CHECK(qwen2->encode_with_added_tokens(text, true) ==
        std::vector<int32_t>{9707, 11, 220, 99489, 0, 220, 16, 17, 18, 19, 20, 366, 26865, 397});
  CHECK(qwen2->vocabulary_size() == 151646);
  CHECK(qwen2->end_id() == 151643);
  const auto deepseek = load_tokenizer(*deepseek_folder);
  CHECK(deepseek->encode_with_added_tokens(text, true) == std::vector<int32_t>{19923, 14, 223, 3427, 3, 223, 6895, 1883, 223, 128798, 201});
  CHECK(deepseek->special_id("<｜User｜>") == 128803);
  CHECK(deepseek->bos_id() == 0);
  CHECK(deepseek->end_id() == 1);
  std::string whole = read_file(*naughty_strings, 1 << 20);
  CHECK(deepseek->decode(deepseek->encode(whole)) == whole);
}
