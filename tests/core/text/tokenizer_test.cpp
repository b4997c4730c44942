#include "core/text/tokenizer.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/random.h"
#include "core/config/yaml_reader.h"
#include "core/text/utf8.h"

using namespace cohort;
using namespace cohort::text;

namespace {

/// A folder that is gone at the end of the test.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "cohort_tokenizer_XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~ScratchFolder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }
  void write(const std::string& content) const { std::ofstream(path_ + "/" + kTokenizerFile) << content; }

 private:
  std::string path_;
};

}  // namespace

TEST_CASE("bytes are their own ids and specials follow", "[text][tokenizer]") {
  const ByteTokenizer tokenizer;
  CHECK(tokenizer.vocabulary_size() == 272);
  CHECK(tokenizer.encode("A\xFF") == std::vector<int32_t>{65, 255});
  CHECK(tokenizer.special_id(kBegin) == 256);
  CHECK(tokenizer.end_id() == 257);
  CHECK(tokenizer.special_id(kThinkOpen) == 260);
  CHECK(tokenizer.pad_id() == 264);
  CHECK_FALSE(tokenizer.special_id("<none>").has_value());
  CHECK_FALSE(tokenizer.special_id("A").has_value());  // an ordinary token is no special one
  CHECK_FALSE(tokenizer.is_special(255));
  CHECK(tokenizer.is_special(271));
  CHECK_FALSE(tokenizer.is_special(272));
  CHECK_FALSE(tokenizer.is_special(-1));
}

TEST_CASE("text never becomes a special token", "[text][tokenizer]") {
  const ByteTokenizer tokenizer;
  for (const std::string text : {"<think>x</think>", "<|end|>", "<|Assistant|>", "<answer>"}) {
    const std::vector<int32_t> ids = tokenizer.encode(text);
    CHECK(ids.size() == text.size());
    for (const int32_t id : ids) CHECK_FALSE(tokenizer.is_special(id));
    CHECK(tokenizer.decode(ids) == text);
  }
}

TEST_CASE("decode skips nothing and refuses foreign ids", "[text][tokenizer]") {
  const ByteTokenizer tokenizer;
  CHECK(tokenizer.decode(std::vector<int32_t>{260, 104, 105, 261, 257, 264, 265}) == "<think>hi</think><|end|><|pad|><|reserved_0|>");
  CHECK_THROWS_AS(tokenizer.decode(std::vector<int32_t>{272}), Fault);
  CHECK_THROWS_AS(tokenizer.decode(std::vector<int32_t>{-1}), Fault);
}

TEST_CASE("any bytes survive a round trip", "[text][tokenizer]") {
  const ByteTokenizer tokenizer;
  RandomStream stream(3, "tokenizer test");
  for (int round = 0; round < 200; ++round) {
    std::string text(stream.below(40), '\0');
    for (char& byte : text) byte = static_cast<char>(stream.below(256));
    CHECK(tokenizer.decode(tokenizer.encode(text)) == text);
  }
}

TEST_CASE("the character tokenizer has an alphabet, an end and nothing else", "[text][tokenizer]") {
  const CharTokenizer tokenizer("0123456789+=");
  CHECK(tokenizer.vocabulary_size() == 13);
  CHECK(tokenizer.encode("7=") == std::vector<int32_t>{7, 11});
  CHECK(tokenizer.end_id() == 12);
  CHECK(tokenizer.pad_id() == 12);
  CHECK_FALSE(tokenizer.special_id(kThinkOpen).has_value());
  CHECK_THROWS_AS(tokenizer.encode("7-1"), InputError);
  CHECK_THROWS_AS(CharTokenizer("aa"), InputError);
  CHECK_THROWS_AS(CharTokenizer(""), InputError);
  CHECK_THROWS_AS(CharTokenizer("a b"), InputError);
  CHECK_THROWS_AS(CharTokenizer("\xC3\xA9"), InputError);
}

TEST_CASE("a tokenizer is read back as it was written", "[text][tokenizer]") {
  const ScratchFolder folder;
  for (const TokenizerConfig& config : {TokenizerConfig{}, TokenizerConfig{.type = "chars", .alphabet = "ab\"\\"}}) {
    const auto made = make_tokenizer(config);
    save_tokenizer(*made, folder.path());
    CHECK(load_tokenizer(folder.path())->to_json() == made->to_json());
  }
}

TEST_CASE("a tokenizer file that is not ours is refused", "[text][tokenizer]") {
  const ScratchFolder folder;
  CHECK_THROWS_AS(load_tokenizer(folder.path()), InputError);  // there is none
  const std::string content =
      GENERATE(as<std::string>(), "", "[]", "{}", "{\"type\": 3}", "{\"type\": \"words\"}", "{\"type\": \"bytes\"}",
               "{\"type\": \"bytes\", \"vocabulary_size\": 271}", "{\"type\": \"bytes\", \"vocabulary_size\": 272, \"more\": 1}",
               "{\"type\": \"bytes\", \"type\": \"bytes\", \"vocabulary_size\": 272}", "{\"type\": \"chars\", \"vocabulary_size\": 13}",
               "{\"type\": \"chars\", \"alphabet\": \"aa\", \"vocabulary_size\": 3}", "{\"type\": \"bytes\", \"vocabulary_size\": 272} x");
  folder.write(content);
  CHECK_THROWS_AS(load_tokenizer(folder.path()), InputError);
}

TEST_CASE("streamed text never ends inside a character", "[text][tokenizer]") {
  const ByteTokenizer tokenizer;
  IncrementalDecoder decoder(tokenizer);
  std::vector<std::string> pieces;
  for (const int32_t id : tokenizer.encode("a\xE4\xB8\xAD\xF0\x9F\x98\x80")) pieces.push_back(decoder.push(id));
  CHECK(pieces == std::vector<std::string>{"a", "", "", "\xE4\xB8\xAD", "", "", "", "\xF0\x9F\x98\x80"});
  CHECK(decoder.finish() == "");
  CHECK(decoder.push(0xE4) == "");
  CHECK(decoder.push(260) == "\xE4<think>");  // the character can no longer be completed
  CHECK(decoder.push(0xE4) == "");
  CHECK(decoder.finish() == "\xE4");
  CHECK(decoder.finish() == "");
}

TEST_CASE("streamed pieces add up to decode, whatever the ids", "[text][tokenizer]") {
  const ByteTokenizer tokenizer;
  RandomStream stream(5, "stream test");
  for (int round = 0; round < 300; ++round) {
    std::vector<int32_t> ids(stream.below(30));
    for (int32_t& id : ids) id = static_cast<int32_t>(stream.between(120, 271));
    IncrementalDecoder decoder(tokenizer);
    std::string text;
    for (const int32_t id : ids) text += decoder.push(id);
    text += decoder.finish();
    CHECK(text == tokenizer.decode(ids));
  }
}

TEST_CASE("a tokenizer config is read strictly", "[text][tokenizer]") {
  CHECK(config::read_config_text<TokenizerConfig>("type: chars\nalphabet: ab\n", "x.yaml").alphabet == "ab");
  for (const char* bad : {"type: words\n", "type: chars\nalphabet: aa\n", "type: chars\nalphabet: ''\n"}) {
    INFO(bad);
    CHECK_THROWS_AS(config::read_config_text<TokenizerConfig>(bad, "x.yaml"), InputError);
  }
}
