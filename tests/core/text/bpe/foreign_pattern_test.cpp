#include "core/text/bpe/foreign_pattern.h"

#include <catch2/catch.hpp>

#include "core/base/error.h"

using namespace cohort;
using namespace cohort::text::bpe;

namespace {

std::vector<std::string> matches(const std::string& pattern, const std::string& text) {
  std::vector<Part> parts;
  make_foreign_matcher(pattern, "t.json")->find(text, parts);
  std::vector<std::string> found;
  uint32_t end = 0;
  for (const Part& part : parts) {
    REQUIRE(part.begin == end);
    end = part.end;
    if (part.matches) found.push_back(text.substr(part.begin, part.end - part.begin));
  }
  REQUIRE(end == text.size());
  return found;
}

}  // namespace

TEST_CASE("matches of foreign patterns may be long, and look far behind their end", "[text][bpe]") {
  const std::string letters(100'000, 'a'), spaces(100'000, ' ');
  CHECK(matches("[a-z]+| +", letters + spaces) == std::vector<std::string>{letters, spaces});
  CHECK(matches("[a-z](?=a*b)", std::string(300, 'a') + "b").size() == 300);
  CHECK(matches("[a-z]+(?!\\d)|\\d", letters + "1") == std::vector<std::string>{letters.substr(1), "1"});
  CHECK(matches("a+$", "a" + letters + "\nb") == std::vector<std::string>{"a" + letters});
  CHECK(matches("(?:[a-z][0-9]?)+", letters.substr(0, 10'000)) == std::vector<std::string>{letters.substr(0, 10'000)});
  CHECK(matches("[A-Z]*[a-z]+|[A-Z]+", std::string(100'000, 'A')) == std::vector<std::string>{std::string(100'000, 'A')});
  CHECK(matches("[\\s\\S]{256}^", std::string(255, 'x') + "\nyz") == std::vector<std::string>{std::string(255, 'x') + "\n"});
  CHECK(matches("(?=b).*b", "ab") == std::vector<std::string>{"b"});  // which PCRE2 by itself overlooks
  CHECK(matches("(?<=a)\\d|x*", "a1xx2") == std::vector<std::string>{"", "1", "xx", ""});
}

TEST_CASE("a foreign pattern may not take more work than a text is worth", "[text][bpe]") {
  for (const char* pattern : {"(?:a|a){1,22}(?:b|c)", "(?:a+)+b", "a*+b", "[\\s\\S]*+(?!)"}) {
    INFO(pattern);
    CHECK_THROWS_WITH(matches(pattern, std::string(4'000, 'a')),
                      Catch::Contains("t.json: expected a pattern that takes at most 256 steps"));
  }
}
