#include "core/base/hash.h"

#include <catch2/catch.hpp>

namespace cohort {
namespace {

TEST_CASE("XXH3-128 of nothing is the published value") { CHECK(xxh3_128_hex("") == "99aa06d3014798d86001c324468d497f"); }

TEST_CASE("hashing in pieces equals hashing at once") {
  const std::string text(100'000, 'x');
  Hasher hasher;
  CHECK(hasher.hex() == xxh3_128_hex(""));
  for (size_t i = 0; i < text.size(); i += 777) hasher.update(std::string_view(text).substr(i, 777));
  CHECK(hasher.hex() == xxh3_128_hex(text));
  hasher.update("y");
  CHECK(hasher.hex() == xxh3_128_hex(text + "y"));
  CHECK(hasher.hex() != xxh3_128_hex(text));
}

}  // namespace
}  // namespace cohort
