#include "core/text/bpe/tokenizer_json.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "core/base/error.h"

using namespace cohort;
using namespace cohort::text::bpe;
using nlohmann::json;

namespace {

json good() {
  return json::parse(R"({"version": "1.0", "truncation": null, "padding": null, "normalizer": {"type": "NFC"},
    "added_tokens": [{"id": 3, "content": "<x>", "special": true, "normalized": false}],
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
      {"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}"}, "behavior": "Isolated", "invert": false},
      {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false}]},
    "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<x>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
      "pair": [], "special_tokens": {"<x>": {"id": "<x>", "ids": [3], "tokens": ["<x>"]}}},
    "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
    "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "", "fuse_unk": false, "byte_fallback": false,
      "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})");
}

std::string problem_with(const std::string& text) {
  try {
    parse_tokenizer_json(text, "t.json");
  } catch (const InputError& error) {
    return error.problems().size() == 1 ? error.what() : "more than one line";
  }
  return "";
}

/// The problem of the good file with another value at a place.
std::string with(const char* pointer, const json& value) {
  json changed = good();
  changed[json::json_pointer(pointer)] = value;
  return problem_with(changed.dump());
}

}  // namespace

TEST_CASE("a good tokenizer.json is read", "[text][bpe]") {
  const TokenizerFile file = parse_tokenizer_json(good().dump(), "t.json");
  CHECK(file.pieces == std::vector<std::string>{"a", "b", "ab", "<x>"});
  CHECK(file.merges.size() == 1);
  CHECK(file.before == std::vector<int32_t>{3});
  CHECK(file.nfc);
  CHECK(with("/model/merges", json::parse(R"([["a", "b"]])")) == "");
  CHECK(with("/model/merges", json::parse(R"(["#version: 0.2", "a b"])")) == "");
  CHECK(with("/model/merges", json::array()) == "");
  CHECK(with("/model/unk_token", "") == "");
  CHECK(with("/normalizer", nullptr) == "");
  CHECK(with("/post_processor", nullptr) == "");
}

TEST_CASE("what is not byte-level BPE is refused by name", "[text][bpe]") {
  const std::vector<std::tuple<const char*, json, std::string>> table = {
      {"/version", "2.0", "t.json.version: expected \"1.0\""},
      {"/truncation", {{"max_length", 5}}, "t.json.truncation: expected null"},
      {"/padding", {{"pad_id", 5}}, "t.json.padding: expected null"},
      {"/surprise", 1, "t.json.surprise: expected no such key"},
      {"/model/type", "Unigram", "t.json: model.type: expected \"BPE\", found \"Unigram\""},
      {"/model/unk_token", "<unk>", "model.unk_token: expected null"},
      {"/model/dropout", 0.1, "model.dropout: expected null"},
      {"/model/byte_fallback", true, "model.byte_fallback: expected null"},
      {"/model/continuing_subword_prefix", "##", "model.continuing_subword_prefix"},
      {"/model/ignore_merges", "yes", "model.ignore_merges: expected true or false"},
      {"/model/extra", 1, "model.extra: expected no such key"},
      {"/normalizer/type", "NFKC", "normalizer.type: expected NFC or Sequence, found \"NFKC\""},
      {"/pre_tokenizer", nullptr, "pre_tokenizer: expected an object, found null"},
      {"/pre_tokenizer/pretokenizers/1/type", "Metaspace", "pretokenizers[1].type: expected Split, Digits, ByteLevel or Sequence"},
      {"/pre_tokenizer/pretokenizers", json::array(), "pre_tokenizer: expected ByteLevel at the end"},
      {"/pre_tokenizer/pretokenizers/0/behavior", "Nearby", "behavior: expected Isolated, Removed"},
      {"/pre_tokenizer/pretokenizers/0/pattern", {{"Regex", "(a"}}, "pattern.Regex: expected a regular expression"},
      {"/pre_tokenizer/pretokenizers/0/pattern", {{"Regex", "[\\p{L}&&[a-z]]"}}, "that PCRE2 and Oniguruma read alike, found &&"},
      {"/pre_tokenizer/pretokenizers/0/pattern", {{"Regex", "\\w+"}}, "read alike, found \\w"},
      {"/pre_tokenizer/pretokenizers/0/pattern", {{"Regex", "\\h+"}}, "read alike, found \\h"},
      {"/pre_tokenizer/pretokenizers/0/pattern", {{"Regex", "(?m:a.b)"}}, "read alike, found (?m"},
      {"/pre_tokenizer/pretokenizers/0/pattern", {{"Regex", "a{2}+"}}, "read alike, found }+"},
      {"/pre_tokenizer/pretokenizers/0/pattern", {{"Regex", std::string(20000, 'a')}}, "a pattern of 1 to 16384 bytes, found 20000"},
      {"/pre_tokenizer/pretokenizers/0/pattern", {{"String", ""}}, "pattern.String: expected a text that is not empty"},
      {"/pre_tokenizer/pretokenizers/0/pattern", "x", "pattern: expected an object"},
      {"/post_processor/type", "BertProcessing", "post_processor.type: expected ByteLevel, TemplateProcessing or Sequence"},
      {"/post_processor/special_tokens/<x>/ids", {4}, "special_tokens.<x>.ids: expected ids of tokens"},
      {"/post_processor/special_tokens", json::object(), "single[0].SpecialToken.id: expected a name of special_tokens"},
      {"/post_processor/single", json::array(), "post_processor.single: expected the text"},
      {"/decoder", nullptr, "decoder: expected an object, found null"},
      {"/decoder/type", "Metaspace", "decoder.type: expected ByteLevel, found \"Metaspace\""},
      {"/added_tokens/0/content", "", "added_tokens[0].content: expected 1 to 16384 bytes, found 0"},
      {"/added_tokens/0/content", 5, "added_tokens[0].content: expected a string, found 5"},
      {"/added_tokens/0/id", 4, "added_tokens: \"<x>\": id: expected 3, which `tokenizers` gives it, found 4"},
      {"/added_tokens/0/id", 4294967299, "id: expected 3, which `tokenizers` gives it, found 4294967299"},
      {"/added_tokens/0/id", -1, "added_tokens[0].id: expected a number from 0 on, found -1"},
      {"/added_tokens/0/content", "ab", "added_tokens: \"ab\": id: expected 2"},
      {"/added_tokens/1", good()["added_tokens"][0], "added_tokens[1].content: expected each token once"},
      {"/added_tokens/0/lstrip", 1, "added_tokens[0].lstrip: expected true or false, found 1"},
  };
  for (const auto& [pointer, value, expected] : table) {
    INFO(pointer << " " << value.dump().substr(0, 80));
    CHECK_THAT(with(pointer, value), Catch::Contains(expected));
  }
}

TEST_CASE("vocabularies and merges that lie are refused", "[text][bpe]") {
  const std::vector<std::tuple<const char*, json, std::string>> table = {
      {"/model/vocab", json::object(), "model.vocab: expected at least one token, found none"},
      {"/model/vocab", json::array({"a"}), "model.vocab: expected an object"},
      {"/model/vocab/a", 4000000000, "model.vocab: expected ids below 16777216, found 4000000000"},
      {"/model/vocab/a", 16000000, "model.vocab: expected ids below 65542 for 3 tokens, found 16000000"},
      {"/model/vocab/a", 1, "model.vocab: expected each id once, found 1 again"},
      {"/model/vocab/a", -1, "model.vocab: expected an id for each token, found something else for \"a\""},
      {"/model/vocab/a", 0.5, "found something else for \"a\""},
      {"/model/vocab/a", "0", "found something else for \"a\""},
      {"/model/vocab/a", json::array({0}), "found something else for \"a\""},
      {"/model/vocab/a", json::object(), "found something else for \"a\""},
      {"/model/merges", json::array({json::object()}), "model.merges[0]: expected \"a b\" or"},
      {"/model/merges", json::object(), "model.merges: expected a list"},
      {"/model/merges", {"a b c"}, "model.merges[0]: expected two tokens with one space between, found \"a b c\""},
      {"/model/merges", {"ab"}, "model.merges[0]: expected two tokens with one space between"},
      {"/model/merges", json::parse("[[\"a\"]]"), "model.merges[0]: expected two tokens, found 1"},
      {"/model/merges", json::parse("[[\"a\",\"b\",\"c\"]]"), "model.merges[0]: expected two tokens, found more"},
      {"/model/merges", json::parse("[[\"a\",[]]]"), "model.merges[0]: expected \"a b\" or"},
      {"/model/merges", {"a b", json::array({"a", "b"})}, "model.merges[1]: expected all merges as strings or all as pairs, found both"},
      {"/model/merges", {"a c"}, "model.merges[0]: expected tokens of the vocabulary, found \"c\""},
      {"/model/merges", {"b a"}, "model.merges[0]: expected tokens of the vocabulary, found \"ba\""},
      {"/model/merges", {5}, "model.merges[0]: expected \"a b\" or"},
      {"/added_tokens/0",
       {{"id", 2}, {"content", "ab"}, {"special", true}},
       "model.merges[0]: expected no merge that makes a special token"},
  };
  for (const auto& [pointer, value, expected] : table) {
    INFO(pointer << " " << value.dump());
    CHECK_THAT(with(pointer, value), Catch::Contains(expected));
  }
  std::string twice = good().dump();
  twice.replace(twice.find("\"a\":0"), 5, "\"a\":0,\"a\":0");
  CHECK_THAT(problem_with(twice), Catch::Contains("model.vocab: expected each token once, found \"a\" again"));
}

TEST_CASE("what is hardly JSON is refused", "[text][bpe]") {
  CHECK_THAT(problem_with(""), Catch::Contains("t.json: expected JSON"));
  CHECK_THAT(problem_with("[]"), Catch::Contains("t.json: expected an object, found a list"));
  CHECK_THAT(problem_with("5"), Catch::Contains("expected an object"));
  CHECK_THAT(problem_with("{\"model\":1,\"model\":2}"), Catch::Contains("t.json: model: expected each key once"));
  CHECK_THAT(problem_with(std::string("{\"a\0\":1}", 8)), Catch::Contains("found a NUL byte at byte 4"));
  CHECK_THAT(problem_with("{\"\xFF\": 1}"), Catch::Contains("t.json: expected JSON, found at byte"));
  CHECK_THAT(problem_with("{\"a\": \"\\ud800\"}"), Catch::Contains("t.json: expected JSON, found at byte"));
  CHECK_THAT(problem_with(std::string(1'000'000, '[')), Catch::Contains("expected nesting up to 32 levels"));
  std::string deep = good().dump();
  deep.replace(deep.find("\"merges\":["), 10, "\"merges\":[" + std::string(1'000'000, '['));
  CHECK_THAT(problem_with(deep), Catch::Contains("model.merges[0]: expected"));
  std::string many = "{\"x\":[";
  for (int i = 0; i < 1 << 20; ++i) many += "0,";
  CHECK_THAT(problem_with(many + "0]}"), Catch::Contains("expected at most 1048576 values"));
  const std::string whole = good().dump();
  for (size_t length = 0; length < whole.size(); length += 7)
    CHECK_THAT(problem_with(whole.substr(0, length)), Catch::Contains("t.json: "));
}

TEST_CASE("a pattern that would never end is stopped", "[text][bpe]") {
  const auto matcher = make_pattern_matcher("(x+x+)+[yz]", "t.json");
  std::vector<Part> parts;
  CHECK_THROWS_AS(matcher->find(std::string(64, 'x'), parts), InputError);
}
