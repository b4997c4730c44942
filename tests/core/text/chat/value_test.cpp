#include "core/text/chat/value.h"

#include <catch2/catch.hpp>
#include <limits>

#include "core/base/error.h"

using namespace cohort;
using namespace cohort::text::chat;
using json = nlohmann::ordered_json;

TEST_CASE("numbers are written as Python writes them", "[text][chat]") {
  // repr() of Python 3.11.
  CHECK(python_float(1.0) == "1.0");
  CHECK(python_float(-0.0) == "-0.0");
  CHECK(python_float(0.1) == "0.1");
  CHECK(python_float(1e15) == "1000000000000000.0");
  CHECK(python_float(1e16) == "1e+16");
  CHECK(python_float(123456789012345680.0) == "1.2345678901234568e+17");
  CHECK(python_float(0.0001) == "0.0001");
  CHECK(python_float(0.00001) == "1e-05");
  CHECK(python_float(5e-324) == "5e-324");
  CHECK(python_float(std::numeric_limits<double>::max()) == "1.7976931348623157e+308");
  CHECK(python_float(-std::numeric_limits<double>::infinity()) == "-inf");
}

TEST_CASE("white space is stripped as Python strips it", "[text][chat]") {
  CHECK(strip(" \t\n\x0b\x0c\r\x1c\x1f a b \u3000\u2028\u00a0\u0085") == "a b");
  CHECK(strip("\u3000\u200b ") == "\u200b");  // ZERO WIDTH SPACE is none
  CHECK(strip(" \n ").empty());
  CHECK(strip("").empty());
  CHECK(strip("\x85x\xa0") == "\x85x\xa0");  // bytes, not characters
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
