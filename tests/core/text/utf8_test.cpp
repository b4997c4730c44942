#include "core/text/utf8.h"

#include <catch2/catch.hpp>

using namespace cohort::text;

TEST_CASE("invalid bytes are replaced, one by one", "[text][utf8]") {
  CHECK(replace_invalid("a\xFF\xE4\xB8z\xE4\xB8\xAD") == "a\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBDz\xE4\xB8\xAD");
  CHECK(replace_invalid("") == "");
}

TEST_CASE("an unfinished character at the end is recognised", "[text][utf8]") {
  CHECK(incomplete_tail("") == 0);
  CHECK(incomplete_tail("abc") == 0);
  CHECK(incomplete_tail("a\xE4") == 1);
  CHECK(incomplete_tail("a\xE4\xB8") == 2);
  CHECK(incomplete_tail("a\xE4\xB8\xAD") == 0);
  CHECK(incomplete_tail("\xF0\x9F\x98") == 3);
  CHECK(incomplete_tail("\xF0\x9F\x98\x80") == 0);
  CHECK(incomplete_tail("\x80\x80\x80\x80") == 0);
  CHECK(incomplete_tail("\xFF") == 0);
}

TEST_CASE("trim takes white space off both ends", "[text][utf8]") {
  CHECK(trim(" \t\r\n a b \n") == "a b");
  CHECK(trim("  ") == "");
}
