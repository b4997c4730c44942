#include "core/text/language.h"

#include <catch2/catch.hpp>
#include <fstream>
#include <map>

#include "core/base/error.h"
#include "tests/support/golden.h"

using namespace cohort;
using namespace cohort::text;

namespace {

std::vector<int64_t> counts(const std::string& text) {
  const WordCounts words = count_words(text);
  return {words.english, words.chinese, words.other};
}

using Counts = std::vector<int64_t>;

}  // namespace

TEST_CASE("words are runs of Latin letters and single Han characters", "[text][language]") {
  CHECK(counts("") == Counts{0, 0, 0});
  CHECK(counts("7+5=12 carry 1 then 4+8+1=13") == Counts{2, 0, 0});
  CHECK(counts("7+5=12进1再4+8+1=13") == Counts{0, 2, 0});
  CHECK(counts("a1b2") == Counts{2, 0, 0});
  CHECK(counts("中文abc中") == Counts{1, 3, 0});
  CHECK(counts("can't don’t 'quoted' it''s") == Counts{5, 0, 0});
  CHECK(counts("naïve Ünal cafe\u0301") == Counts{3, 0, 0});
  CHECK(counts("привет мир") == Counts{0, 0, 2});
  CHECK(counts("！，。？《》「」１２３・…—±×÷😀") == Counts{0, 0, 0});
  CHECK(counts("\uFF21\uFF22 𠀀") == Counts{1, 1, 0});
}

TEST_CASE("invalid bytes are neutral and separate words", "[text][language]") {
  CHECK(counts("ab\xFF"
               "cd\xE4\xB8") == Counts{2, 0, 0});
  CHECK(counts(std::string("a\0b", 3)) == Counts{2, 0, 0});
}

TEST_CASE("consistency is the share of words of the target language", "[text][language]") {
  CHECK(language_consistency("carry one 进", "en") == Approx(2.0 / 3.0));
  CHECK(language_consistency("carry one 进", "zh") == Approx(1.0 / 3.0));
  CHECK(language_consistency("1+1=2", "en") == 1.0);
  CHECK(language_consistency("1+1=2", "zh") == 1.0);
  CHECK(language_consistency("привет", "en") == 0.0);
  CHECK_THROWS_AS(language_consistency("a", "fr"), InputError);
  CHECK_THROWS_AS(language_consistency("", ""), InputError);
}

TEST_CASE("the language of a question is that of most of its words", "[text][language]") {
  CHECK(dominant_language("Add 1 and 2.") == "en");
  CHECK(dominant_language("求1加2。") == "zh");
  CHECK(dominant_language("12") == "en");
  CHECK(dominant_language("把cat说3次") == "zh");
}

TEST_CASE("real sentences are told apart by script", "[text][language][data]") {
  const auto path = test::real_data("languages/sentences.tsv");
  if (!path) return;
  std::ifstream file(*path);
  REQUIRE(file);
  std::map<std::string, int> total;
  std::map<std::string, int> consistent;
  for (std::string line; std::getline(file, line);) {
    const std::string language = line.substr(0, line.find('\t'));
    const std::string sentence = line.substr(line.find('\t') + 1);
    ++total[language];
    const std::string target = language == "zh" ? "zh" : "en";
    consistent[language] += language_consistency(sentence, target) >= 0.95 && count_words(sentence).total() > 0 ? 1 : 0;
  }
  REQUIRE(total["en"] > 50);
  REQUIRE(total["zh"] > 50);
  CHECK(consistent["en"] == total["en"]);
  CHECK(consistent["zh"] >= total["zh"] * 9 / 10);
  for (const char* language : {"ru", "ar", "el", "he", "ko", "th"}) {
    INFO(language);
    CHECK(consistent[language] <= total[language] / 20);
  }
}
