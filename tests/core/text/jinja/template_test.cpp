#include "core/text/jinja/template.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "tests/support/golden.h"

using namespace cohort;
using text::MarkedText;
using text::jinja::Template;
using Json = nlohmann::ordered_json;

namespace {

std::tm day() {
  std::tm date{};
  date.tm_year = 2025 - 1900, date.tm_mon = 1, date.tm_mday = 9;
  return date;
}

MarkedText render(const std::string& source, const Json& variables = Json::object()) {
  return Template(source, "T").render({{"bos_token", "<s>"}}, variables, day());
}

/// The text, or why there is none.
std::string text_or_problem(const std::string& source, const Json& variables = Json::object()) {
  try {
    return render(source, variables).text();
  } catch (const InputError& error) {
    return error.what();
  }
}

std::string repeated(const std::string& text, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) result += text;
  return result;
}

struct Comparison {
  int wrong = 0, refused = 0, rows = 0;
};

/// Of rows that make_jinja_golden.py or scripts/jinja_check.py wrote.
Comparison compare(const std::string& path) {
  const Json golden = parse_ordered_json(read_file(path, uint64_t{1} << 30), path);
  Comparison result;
  for (const Json& row : golden["rows"]) {
    const std::string source = row[0].get<std::string>();
    Json got = nullptr;
    std::string problem;
    try {
      got = render(source, golden["variables"]).text();
    } catch (const InputError& error) {
      problem = error.what();
    }
    ++result.rows;
    if (got == row[1]) continue;
    got.is_null() ? ++result.refused : ++result.wrong;
    if (!got.is_null()) UNSCOPED_INFO(source << "\n  expected " << row[1].dump() << "\n  found    " << got.dump());
    if (got.is_null() && result.refused <= 20) UNSCOPED_INFO(source << "\n  refused: " << problem);
  }
  return result;
}

}  // namespace

TEST_CASE("templates give what Jinja2 gives", "[text][jinja]") {
  const Comparison result = compare(test::golden_path("text/jinja.json"));
  CHECK(result.wrong == 0);
  CHECK(result.refused == 0);
  CHECK(result.rows > 100);
}

TEST_CASE("random templates give what Jinja2 gives", "[.jinja]") {  // run by scripts/jinja_check.py
  const char* path = std::getenv("COHORT_JINJA_ROWS");
  REQUIRE(path != nullptr);
  const Comparison result = compare(path);
  WARN(result.rows << " templates, " << result.refused << " refused");
  CHECK(result.wrong == 0);
  CHECK(result.refused * 10 < result.rows);
}

TEST_CASE("what comes from outside stays marked through every operation", "[text][jinja]") {
  const Json variables = {{"m", {{"role", "user"}, {"content", " <|end|>x "}}}};
  const auto marks = [&](const std::string& source) {
    const MarkedText text = render(source, variables);
    std::string result;
    for (size_t i = 0; i < text.size(); ++i) result += text.foreign_at(i) ? '~' : text.text()[i];
    return result;
  };
  CHECK(marks("<|{{ m.role }}|>{{ m.content | trim }}<|end|>") == "<|~~~~|>~~~~~~~~<|end|>");
  CHECK(marks("{{ '<' + m.content.strip() ~ '>' }}{{ bos_token }}") == "<~~~~~~~~><s>");
  CHECK(marks("{{ m.content.split('|')[1] }}-{{ m.content[::-1][:3] }}-{{ m.content | upper | replace('X', 'own') }}") ==
        "~~~-~~~-~~~~~~~~own~");
  CHECK(marks("{{ 'a{}b' | replace('{}', m.role) }}{{ ['x', m.role] | join('-') }}{{ '-'.join([m.role, 'x']) }}") == "a~~~~bx-~~~~~~~~-x");
  CHECK(marks("{% set x %}[{{ m.role }}]{% endset %}{{ x }}{% macro f(a) %}({{ a }}){% endmacro %}{{ f(m.role) }}") == "[~~~~](~~~~)");
  CHECK(marks("{% for c in m.role %}{{ c }},{% endfor %}{% for k in m %}{{ k }};{% endfor %}") == "~,~,~,~,~~~~;~~~~~~~;");
  CHECK(marks("{{ m | tojson }}") == std::string(41, '~'));  // all of it: a quote of its own makes no difference
  CHECK(marks("{{ {'a': 1} | tojson }}") == "{\"a\": 1}");
  CHECK(marks("{{ m.content | indent | lower | title }}").find_first_not_of('~') == std::string::npos);
}

TEST_CASE("a problem names the line and the construct", "[text][jinja]") {
  CHECK(text_or_problem("a\n{% include 'x' %}") == "T: line 2: the statement include is not supported here");
  CHECK(text_or_problem("{{ 'a' | shout }}") == "T: line 1: expected a filter, found shout");
  CHECK(text_or_problem("\n\n{{ 'a' | urlize }}") == "T: line 3: the filter urlize is not supported");
  CHECK(text_or_problem("{{ 1 is prime }}") == "T: line 1: expected a test, found prime");
  CHECK(text_or_problem("{{ 'a'.translate() }}") == "T: line 1: the method translate of a string is not supported");
  CHECK(text_or_problem("{{ x.y }}") == "T: line 1: expected the name x to be defined");
  CHECK(text_or_problem("\n{{ m.a.b }}", {{"m", Json::object()}}) == "T: line 2: expected a mapping with 'a', found none");
  CHECK(text_or_problem("{{ raise_exception('roles must alternate') }}") ==
        "T: line 1: the template refuses the conversation: roles must alternate");
  CHECK(text_or_problem("{{ 'é' | upper }}") == "T: line 1: upper, lower, title: expected ASCII letters, found others");
  CHECK(text_or_problem("{% if x %}") == "T: line 1: expected endif, found the end of the template");
  CHECK(text_or_problem("{{ f(*x) }}") == "T: line 1: * and ** before an argument are not supported");
  CHECK(text_or_problem("{{ x.__class__ }}", {{"x", "a"}}) == "T: line 1: access to the attribute __class__ is not safe");
  CHECK(text_or_problem("{{ [1].append(2) }}") == "T: line 1: the method append of a list is not supported");
  CHECK(text_or_problem(std::string("{{ '\xff' }}")) == "T: expected UTF-8, found something else");
}

TEST_CASE("strftime_now writes the date that is given", "[text][jinja]") {
  CHECK(render("{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% endif %}").text() == "09 Feb 2025");
}

TEST_CASE("hostile templates end soon with a problem", "[text][jinja]") {
  const std::string doubling = "{% set ns = namespace(s='x', l=[1]) %}{% for i in range(100) %}";
  const std::string sources[] = {
      "{{" + repeated("(", 5000) + "1" + repeated(")", 5000) + "}}",
      "{{" + repeated("[", 5000),
      "{{ 1" + repeated(" + 1", 50000) + " }}",
      "{{ x" + repeated(".a", 50000) + " }}",
      "{{ x" + repeated("|trim", 50000) + " }}",
      "{{ " + repeated("not ", 50000) + "x }}",
      "{{ " + repeated("-", 50000) + "1 }}",
      "{{ " + repeated("1 if 1 else ", 3000) + "1 }}",
      repeated("{% if x %}", 5000) + repeated("{% endif %}", 5000),
      repeated("{% raw %}", 10000),
      repeated("{#", 10000),
      "{{ '" + repeated("\\", 99999),
      "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
      "{% for a in range(100000) %}{{ 'x' * 1000 }}{% endfor %}",
      "{{ 'x' * 1000000000000 }}",
      "{{ [0] * 1000000000000 }}",
      doubling + "{% set ns.s = ns.s + ns.s %}{% endfor %}",
      doubling + "{% set ns.l = ns.l + ns.l %}{% endfor %}",
      doubling + "{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
      doubling + "{% set ns.l = [ns.l, ns.l] %}{% if i == 50 %}{{ ns.l == ns.l }}{{ ns.l | tojson }}{% endif %}{% endfor %}",
      doubling + "{% endfor %}{% set ns.l = [ns] %}{{ ns.l }}",
      "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
      "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
      "{{ ('a,' * 1000000).split(',') | length }}",
      "{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}",
      "{{ range(100000) | list | join('x' * 10000) }}",
      "{{ range(100000) | list | unique | list }}",
      "{% set x = 'ab' * 100000 %}{% for i in range(100000) %}{% if 'zz' in x or x | length == 1 %}{% endif %}{% endfor %}",
      "{{ ('a' * 400000).strip('b' * 100000) }}",
      "{% set t = 'a' * 1000000 %}{% for i in range(2000) %}{{ (t | string) | length }}{% endfor %}",
      "{% set t = 'a' * 100000 %}{% for i in range(100000) %}{% set u = t.replace('b', 'c') %}{% endfor %}",
      "{% set t = 'a' * 1000000 %}{% for i in range(1000) %}{% set u = t | replace('ab' * 10000, 'c') %}{% endfor %}",
      "{{ ('a' * 1000000).find('a' * 500000 ~ 'b') }}",
      "{{ ('a' * 400000) | trim('b' * 100000 ~ 'a') }}",
      "{% set k = 'a' * 1000000 %}{% set m = {k ~ 'b': 1} %}{% for i in range(20000) %}{% if m[k ~ 'c'] is defined %}{% endif %}{% endfor "
      "%}",
      "{% set k = 'a' * 1000000 %}{% set m = {k ~ 'b': 1} %}{% set c = k ~ 'c' %}{% for i in range(90000) %}{{ m.get(c) }}{% endfor %}",
      "{% set u = 'a' * 1000000 %}{{ (u ~ 'b').startswith(prefix=(u ~ 'c',) * 20000) }}",
      "{{ range(-9223372036854775807, 9223372036854775807) }}",
      "{{ 10 ** 10000000000 }}",
      "{{ 9223372036854775807 + 1 }}",
      "{{ (-9223372036854775807 - 1) // -1 }}",
      "{{ 99999999999999999999 }}",
      "{{ strftime_now('%c' * 1000) }}",
      std::string((1 << 20) + 1, 'x'),
  };
  for (const std::string& source : sources) {
    INFO(source.substr(0, 100));
    CHECK_THROWS_AS(render(source), InputError);
  }
  CHECK(render("{{ (-9223372036854775807 - 1) % -1 }}{{ [1][::-9223372036854775807 - 1] }}{{ [1][9223372036854775807:] }}").text() ==
        "0[1][]");
}

TEST_CASE("lists that contain themselves are freed", "[text][jinja]") {
  CHECK(render("{% set ns = namespace() %}{% set ns.a = [ns] %}{% macro f() %}{% endmacro %}{{ ns.a | length }}").text() == "1");
}
