#include "core/base/text_util.h"

#include <catch2/catch.hpp>

namespace cohort {
namespace {

TEST_CASE("edit distance counts insertions, deletions, replacements and swaps") {
  CHECK(edit_distance("", "") == 0);
  CHECK(edit_distance("abc", "") == 3);
  CHECK(edit_distance("kitten", "sitting") == 3);
  CHECK(edit_distance("clip_ration", "clip_ratio") == 1);
  CHECK(edit_distance("zreo", "zero") == 1);
  CHECK(edit_distance("ab", "ba") == 1);
}

TEST_CASE("the nearest name is found, and none when none is near") {
  const std::vector<std::string> names = {"clip_ratio", "clip_ratio_high", "lr", "seed"};
  CHECK(nearest_name("clip_ration", names) == "clip_ratio");
  CHECK(nearest_name("clip_ratio_hgih", names) == "clip_ratio_high");
  CHECK(nearest_name("sed", names) == "seed");
  CHECK(nearest_name("lrr", names) == "lr");
  CHECK(nearest_name("momentum", names).empty());
  CHECK(nearest_name("", names).empty());
  CHECK(nearest_name(std::string(1'000'000, 'a'), names).empty());
}

TEST_CASE("printable text is one short line") {
  CHECK(printable("plain") == "plain");
  CHECK(printable("a\nb\t\x1b[31m") == "a\\nb\\t\\x1b[31m");
  CHECK(printable("bad \xff") == "bad \\xff");
  CHECK(printable("\xc2\x9b") == "\\xc2\\x9b");  // a control character that terminals obey
  CHECK(printable("数学", 60) == "数学");
  CHECK(printable("数学", 4) == "数…");
  CHECK(printable(std::string(100, 'x'), 10) == std::string(10, 'x') + "…");
}

TEST_CASE("invalid UTF-8 is found") {
  const auto valid = [](std::string_view text) { return first_invalid_utf8(text) == text.size(); };
  CHECK(valid("a é 数 😀 \xF4\x8F\xBF\xBF"));
  CHECK(first_invalid_utf8("ab\xff") == 2);
  CHECK_FALSE(valid("\xC0\x80"));          // overlong
  CHECK_FALSE(valid("\xE0\x80\x80"));      // overlong
  CHECK_FALSE(valid("\xF0\x80\x80\x80"));  // overlong
  CHECK_FALSE(valid("\xED\xA0\x80"));      // surrogate
  CHECK_FALSE(valid("\xF4\x90\x80\x80"));  // beyond U+10FFFF
  CHECK_FALSE(valid("\xE6\x95"));          // cut short
  CHECK_FALSE(valid("\x80"));
}

}  // namespace
}  // namespace cohort
