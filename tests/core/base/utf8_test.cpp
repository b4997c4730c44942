#include "core/base/utf8.h"

#include <catch2/catch.hpp>

using namespace cohort;

TEST_CASE("every code point survives a round trip", "[utf8]") {
  for (char32_t code = 0; code <= 0x10FFFF; ++code) {
    if (code >= 0xD800 && code <= 0xDFFF) continue;
    std::string bytes;
    append_character(bytes, code);
    const Character character = character_at(bytes, 0);
    if (!character.valid || character.code != code || character.length != bytes.size()) FAIL("code point " << static_cast<uint32_t>(code));
  }
}

TEST_CASE("what UTF-8 forbids is one invalid byte", "[utf8]") {
  const std::string bad =
      GENERATE(as<std::string>(), "\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xED\xBF\xBF",
               "\xF0\x80\x80\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xE4\xB8", "\xF0\x9F\x98", "\xE4\x41\x42");
  const Character character = character_at(bad, 0);
  CHECK_FALSE(character.valid);
  CHECK(character.length == 1);
  CHECK(character.code == static_cast<unsigned char>(bad[0]));
}
