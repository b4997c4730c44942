#include "core/base/json.h"

#include <catch2/catch.hpp>
#include <ctime>
#include <nlohmann/json.hpp>

#include "core/base/error.h"

namespace cohort {
namespace {

using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;

std::string problem_of(std::string_view text, int max_depth = 64) {
  try {
    parse_json(text, "rows.jsonl:17", max_depth);
  } catch (const InputError& error) {
    return error.what();
  }
  return "no problem";
}

TEST_CASE("JSON values are read") {
  const nlohmann::json value = parse_json(R"({"a": [1, -2, 3.5, 18446744073709551615, "数", null, true, {}], "b": {"a": 1}})", "test");
  CHECK(value["a"][1] == -2);
  CHECK(value["a"][2] == 3.5);
  CHECK(value["a"][3].get<uint64_t>() == 18446744073709551615u);
  CHECK(value["a"][4] == "数");
  CHECK(value["a"].size() == 8);
  CHECK(value["b"]["a"] == 1);
  CHECK(parse_json("7", "test") == 7);
}

TEST_CASE("what strict JSON refuses is named with its place") {
  CHECK_THAT(problem_of(R"({"a": 1, "b": {"a": 2}, "a": 3})"), StartsWith("rows.jsonl:17: ") && Contains("'a' again"));
  CHECK_THAT(problem_of("{} {}"), StartsWith("rows.jsonl:17: ") && Contains("JSON"));
  CHECK_THAT(problem_of(""), StartsWith("rows.jsonl:17: "));
  CHECK_THAT(problem_of("{\"a\": \"\xff\"}"), Contains("UTF-8"));
  CHECK_THAT(problem_of("{\"a\": \"\\ud800\"}"), StartsWith("rows.jsonl:17: "));
  CHECK_THAT(problem_of("[NaN]"), StartsWith("rows.jsonl:17: "));
  CHECK_THAT(problem_of("[1,]"), StartsWith("rows.jsonl:17: "));
  CHECK_THAT(problem_of("[1e999]"), StartsWith("rows.jsonl:17: "));
  CHECK_THAT(problem_of("[18446744073709551616]"), Contains("64 bits"));
  CHECK_THAT(problem_of("[-9223372036854775809]"), Contains("64 bits"));
  CHECK(problem_of("[-9223372036854775808]") == "no problem");
}

TEST_CASE("an object of many keys takes no longer in the order of its text") {
  constexpr int kKeys = 150'000;
  std::string text = "{";
  for (int i = kKeys; i > 0; --i) text += "\"key" + std::to_string(i) + "\":" + std::to_string(i) + ",";
  const std::clock_t begin = std::clock();
  const nlohmann::ordered_json value = parse_ordered_json(text + "\"last\":{\"key1\":0}}", "test");
  CHECK(std::clock() - begin < 2 * CLOCKS_PER_SEC);  // comparing every key with every other one takes many times as long
  CHECK(value.size() == kKeys + 1);
  CHECK(value.begin().key() == "key150000");
  CHECK(value["last"]["key1"] == 0);
  CHECK_THROWS_WITH(parse_ordered_json(text + "\"key7\":0}", "test"), Contains("'key7' again"));
}

TEST_CASE("JSON nesting is limited, however deep the text goes") {
  CHECK(problem_of("[[[]]]", 3) == "no problem");
  CHECK_THAT(problem_of("[[[[]]]]", 3), Contains("3 levels"));
  CHECK_THAT(problem_of(R"({"a":{"a":{"a":{}}}})", 3), Contains("3 levels"));
  CHECK_THAT(problem_of(std::string(5'000'000, '[')), Contains("64 levels"));
}

}  // namespace
}  // namespace cohort
