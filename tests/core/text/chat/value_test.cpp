#include "core/text/chat/value.h"

#include <catch2/catch.hpp>
#include <limits>

#include "core/base/error.h"

using namespace cohort;
using namespace cohort::text::chat;
using json = nlohmann::ordered_json;

TEST_CASE("newlines are stripped as Python strips them", "[text][chat]") {
  CHECK(strip_newlines("\n\n a \n\n", true, true) == " a ");
  CHECK(strip_newlines("\n a \n", true, false) == " a \n");
  CHECK(strip_newlines("\n\n", false, true).empty());
}

TEST_CASE("JSON is written as json.dumps writes it", "[text][chat]") {
  const auto dumped = [](const json& value, int indent = 0) { return Value(&value, "x").to_json(indent); };
  CHECK(dumped("é\"\\\n\x01\x7f</") == "\"é\\\"\\\\\\n\\u0001\x7f</\"");
  CHECK(dumped(json::array({1, 2.0, nullptr, true, json::array(), json::object()})) == "[1, 2.0, null, true, [], {}]");
  CHECK(dumped({{"a", {{"b", json::array({1, 2})}}}}, 4) ==
        "{\n    \"a\": {\n        \"b\": [\n            1,\n            2\n        ]\n    }\n}");
  CHECK(dumped(json::object(), 4) == "{}");
  CHECK(dumped(std::numeric_limits<uint64_t>::max()) == "18446744073709551615");
  CHECK(dumped({{"b", 1}, {"a", 2}}) == "{\"b\": 1, \"a\": 2}");
  CHECK_THROWS_AS(Value(nullptr, "x").to_json(), InputError);
  json deep = 1;
  for (int i = 0; i < 64; ++i) deep = json::array({deep});
  CHECK(dumped(deep).size() == 129);
  CHECK_THROWS_AS(dumped(json::array({deep})), InputError);
}

TEST_CASE("values are read by the rules of Jinja", "[text][chat]") {
  const json object = {{"text", "x"}, {"none", nullptr}, {"empty", ""},          {"list", json::array({1, 2})},
                       {"no", false}, {"zero", 0.0},     {"map", json::object()}};
  const Value value(&object, "v");
  CHECK(value["text"].is("x"));
  CHECK_FALSE(value["missing"].defined());
  CHECK_FALSE(value["text"]["missing"].defined());  // an attribute that a string does not have
  CHECK_THROWS_AS(value["missing"]["more"], InputError);
  for (const char* key : {"missing", "none", "empty", "no", "zero", "map"}) CHECK_FALSE(value[key].truthy());
  for (const char* key : {"text", "list"}) CHECK(value[key].truthy());
  CHECK(value["none"].printed() == "None");
  CHECK(value["no"].printed() == "False");
  CHECK(value["zero"].printed() == "0.0");
  CHECK(value["missing"].printed().empty());
  CHECK_THROWS_AS(value["list"].printed(), InputError);
  CHECK(value["missing"].items().empty());
  CHECK(value["empty"].items().empty());
  CHECK(value["list"].size() == 2);
  CHECK_THROWS_AS(value["none"].items(), InputError);
  CHECK_THROWS_AS(value["text"].items(), InputError);
  CHECK_FALSE(value["list"].at(2).defined());
  CHECK(value["list"].at(1).printed() == "2");
}
