#include "core/text/bpe/normalizer.h"

#include <catch2/catch.hpp>
#include <fstream>

#include "core/text/utf8.h"
#include "tests/support/golden.h"

using namespace cohort;
using namespace cohort::text;
using namespace cohort::text::bpe;

namespace {

std::string of(const std::string& text) { return nfc(text, nullptr); }

/// "0041 030A" → its characters.
std::string characters(const std::string& codes) {
  std::string text;
  for (size_t i = 0; i < codes.size();) {
    size_t used = 0;
    append_character(text, static_cast<char32_t>(std::stoul(codes.substr(i), &used, 16)));
    i += used + 1;
  }
  return text;
}

}  // namespace

TEST_CASE("characters compose and marks are ordered", "[text][bpe]") {
  CHECK(of("e\u0301") == "é");
  CHECK(of("q\u0307\u0323") == "q\u0323\u0307");
  CHECK(of("\u212B\u0958") == "Å\u0915\u093C");  // a singleton and an exclusion
  CHECK(of("\u1100\u1161\u11A8") == "각");
  CHECK(of("\u0344") == "\u0308\u0301");
  CHECK(of("a\u0301\u0301") == "á\u0301");
  CHECK(of("a\u0305\u0301") == "a\u0305\u0301");  // the same class blocks
  CHECK(of("\uAC00\u1161") == "\uAC00\u1161");
  CHECK(of("a\xFF\u0301") == "a\xFF\u0301");  // nothing composes with what is no character
  CHECK(of("") == "");
  CHECK(of("\U0001611E\U0001611E") == "\U0001611E\U0001611E");  // younger than the tables
}

TEST_CASE("a composed character stands for the first that it replaces", "[text][bpe]") {
  std::vector<Span> alignment;
  CHECK(nfc("xe\u0301y", &alignment) == "xéy");
  CHECK((alignment == std::vector<Span>{{0, 1}, {1, 2}, {1, 2}, {4, 5}}));
  alignment.clear();
  CHECK(nfc("\u0958", &alignment) == "\u0915\u093C");
  CHECK((alignment == std::vector<Span>(6, {0, 3})));
}

TEST_CASE("text that stays is recognised", "[text][bpe]") {
  for (const char* text : {"", "plain", "naïve", "世界 こんにちは 안녕", "привет", "\xFF\xFE"}) {
    CHECK(is_quickly_nfc(text));
    CHECK(of(text) == text);
  }
  for (const char* text : {"e\u0301", "\u212B", "\u1161", "\u3099"}) CHECK_FALSE(is_quickly_nfc(text));
}

TEST_CASE("Unicode's own test of NFC", "[text][bpe]") {
  const auto path = test::real_data("unicode/NormalizationTest.txt");
  if (!path) return;
  std::ifstream file(*path);
  std::string line;
  int rows = 0, wrong = 0;
  while (std::getline(file, line)) {
    if (line.empty() || line[0] == '#' || line[0] == '@') continue;
    std::vector<std::string> columns;
    for (size_t i = 0; columns.size() < 5; i = line.find(';', i) + 1) columns.push_back(characters(line.substr(i, line.find(';', i) - i)));
    bool right = of(columns[3]) == columns[3] && of(columns[4]) == columns[3];
    for (int c : {0, 1, 2}) right = right && of(columns[static_cast<size_t>(c)]) == columns[1];
    ++rows, wrong += right ? 0 : 1;
    if (right && is_quickly_nfc(columns[0])) CHECK(columns[0] == columns[1]);
  }
  CHECK(rows == 19074);
  CHECK(wrong == 651);  // rows with characters younger than Unicode 9; NFC of `tokenizers` 0.23.3 fails as many
}
