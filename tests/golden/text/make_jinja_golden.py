#!/usr/bin/env python3
"""Writes tests/golden/text/jinja.json: short templates, one construct each, and what Jinja2 makes of them as transformers sets it up.

    python tests/golden/text/make_jinja_golden.py      # needs jinja2 3.1

The file: {"variables": {…}, "rows": [[TEMPLATE, text, or null where Jinja2 raises]]}. bos_token is <s>; today is 2025-02-09.
"""
import datetime
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "scripts"))
from chat_template_check import compile_template  # noqa: E402

VARIABLES = {
    "messages": [{"role": "system", "content": "Be  brief. "}, {"role": "user", "content": "Hé \"you\"\n"},
                 {"role": "assistant", "content": "<think>\nhm\n</think>\n\n72", "n": 3}, {"role": "user", "content": "", "tags": ["b", "A", "c"]}],
    "numbers": [3, 1, 2], "yes": True, "no": False, "nothing": None, "word": "Straße 7", "half": 0.5, "deep": {"x": [1, 2.5, True, None, "ü"], "y": {}}}

TEMPLATES = r"""
plain text, {nothing} of {{'a'}} tag
{# a comment #}x{#- another -#} y
  {# alone on its line #}
after
a {{- 'b' -}} c {{ 'd' }} e
a
  {%- if yes %}
  b
  {%- endif %}
c
a
  {% if yes %}
  b
  {% endif %}
c
a
  {%+ if yes +%}
  b
  {%+ endif +%}
c
x {{ 'a' }}
{{ 'b' }}
 {{ 'c' }}
{% raw %}{{ not run }} {% x %}{% endraw %} after
 {%- raw -%}  {{ a }}  {%- endraw -%}  b
{{ '}}' }}{{ "{%" }}{{ {'a': {'b': 1}}['a']['b'] }}
{{ "it's" }} {{ 'a\nb\t\\ \' \" \x41 é 😀 \d' }}
{{ 'two ' "strings" }}
{{ 1 }} {{ 007 }}
{{ 42 }} {{ 4.50 }} {{ 1.5 + 1 }} {{ -3 }} {{ +3 }} {{ - 3|abs }}
{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }}
{{ 1 / 0 }}
{{ 1e3 }}
{{ 0.1 + 0.2 }} {{ 1e16 }} {{ 1 / 3 }}
{{ 100000000.0 * 100000000.0 }} {{ 1 / 100000 }} {{ 123456789.125 }}
{{ 'a' + 'b' }} {{ 'a' ~ 1 ~ none ~ true }} {{ 'ab' * 3 }} {{ [1] + [2] }} {{ (1,) + (2, 3) }}
{{ 'a' + 1 }}
{{ true + true }} {{ true }} {{ True and 3 }} {{ none }} {{ False }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 }} {{ 'a' < 'b' }} {{ '1' == 1 }} {{ [1, 2] == [1, 2] }} {{ [1] == (1,) }} {{ {'a': 1} == {'a': 1.0} }}
{{ 1 < 'a' }}
{{ none < 1 }}
{{ missing == missing2 }} {{ missing == none }} {{ missing }} {{ missing is defined }} {{ not missing }}
{{ missing.x }}
{{ missing + 'a' }}
{{ missing() }}
{{ messages[0].nothing is undefined }}{{ messages[0].nothing }}
{{ 3 in numbers }} {{ 9 not in numbers }} {{ 'ra' in word }} {{ 'role' in messages[0] }} {{ 'x' in missing }}
{{ 1 in 'abc' }}
{{ 'a' in none }}
{{ 'a' if yes else 'b' }} {{ 'a' if no }} {{ 'a' if no else 'b' if no else 'c' }}
{{ no or 'x' }} {{ 'x' and '' }}. {{ not yes }} {{ not no and yes or no }}
{{ numbers[0] }} {{ numbers[-1] }} {{ numbers[9] }} {{ word[0] }} {{ word[-3] }} {{ numbers.1 }}
{{ numbers[1:] }} {{ numbers[::-1] }} {{ numbers[:-1] }} {{ word[1:4] }} {{ word[::-1] }} {{ word[-2:] }} {{ word[5:1:-2] }} {{ numbers[7:] }}
{{ numbers[::0] }}
{{ messages[0]['role'] }} {{ messages[0].role }} {{ messages[9].role }}
{{ messages | length }} {{ word | length }} {{ word | count }} {{ '' | length }} {{ deep | length }} {{ missing | length }}
{{ 5 | length }}
{% for m in messages %}{{ loop.index }}/{{ loop.length }} {{ loop.index0 }} {{ loop.revindex }} {{ loop.revindex0 }} {{ loop.first }} {{ loop.last }} {{ m.role }}; {% endfor %}
{% for m in messages %}{{ loop.previtem.role if loop.previtem is defined else '-' }}>{{ m.role }}>{{ loop.nextitem.role if not loop.last }} {% endfor %}
{% for x in [] %}x{% else %}none{% endfor %}{% for x in missing %}x{% else %} empty{% endfor %}
{% for x in 5 %}x{% endfor %}
{% for m in messages if m.role == 'user' %}{{ loop.index }}{{ m.content }}{% else %}no{% endfor %}
{% for k, v in deep.items() %}{{ k }}={{ v }};{% endfor %}{% for k in deep %}{{ k }}{% endfor %}
{% for k, v in deep | items %}{{ k }}{% endfor %}{% for c in 'aß' %}[{{ c }}]{% endfor %}
{% for a, b in [(1, 2), [3, 4]] %}{{ a }}{{ b }}{% endfor %}{% for a, b in [(1, 2, 3)] %}x{% endfor %}
{% for i in range(3) %}{{ i }}{% endfor %} {% for i in range(5, 0, -2) %}{{ i }}{% endfor %} {{ range(3) | list }}
{% for i in range(10) %}{% if i == 2 %}{% continue %}{% elif i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}
{% for i in [1, 2] %}{% for j in [3, 4] %}{{ loop.index }}{{ i }}{{ j }} {% endfor %}{{ loop.index }}{% endfor %}
{% for i in numbers %}{{ loop.cycle('a', 'b') }}{% endfor %}
{% set x = 1 %}{% for i in numbers %}{% set x = x + i %}{{ x }} {% endfor %}{{ x }}
{% set ns = namespace(x=1, found=false) %}{% for i in numbers %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}{{ ns.found }}{{ ns.other is defined }}
{% set x = 1 %}{% set x.y = 2 %}
{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set t = 1, %}{{ t }}{% set e = () %}{{ e }}
{% set text %}<{{ word }}>{% set inner = 1 %}{% endset %}{{ text }}{{ text | length }}{{ inner is defined }}
{% set text | upper | trim %}  abc {% endset %}[{{ text }}]
{% if yes %}{% set v = 1 %}{% endif %}{{ v }}{% if no %}a{% elif nothing %}b{% else %}c{% endif %}
{% with a = 1, b = 2 %}{{ a }}{{ b }}{% set c = 3 %}{% endwith %}{{ a is defined }}{{ c is defined }}
{% macro say(a, b='x', c=none) %}[{{ a }}|{{ b }}|{{ c }}]{% endmacro %}{{ say(1) }}{{ say(1, c=3) }}{{ say() }}{{ say('q', 'r', 's') | length }}
{% macro f(n) %}{% if n > 0 %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}
{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}
{% macro f(a) %}{{ a }}{% endmacro %}{{ f(b=2) }}
{% set g = 5 %}{% macro f() %}{{ g }}{% set g = 6 %}{{ g }}{% endmacro %}{{ f() }}{{ g }}
{% generation %}a{% set q = 1 %}{% endgeneration %}{{ q is defined }}
{{ '  a b ' | trim }}|{{ 'xxaxx' | trim('x') }}|{{ missing | trim }}|{{ 5 | trim }}
{{ 'ab' | upper }} {{ 'AB' | lower }} {{ 'it is-a (test)' | title }} {{ 'hELLO wORLD' | capitalize }} {{ "it's".title() }} {{ 'hELLO'.capitalize() }}
{{ 'aXbXc'.split('X') }} {{ ' a  b '.split() }} {{ 'aXbXc'.split('X', 1) }} {{ ''.split() }} {{ ''.split('x') }} {{ 'aXbXc'.rsplit('X', 1) }} {{ 'a b  c'.split(none, 1) }} {{ 'a b c '.rsplit(none, 1) }}
{{ 'a'.split('') }}
{{ '..a..'.strip('.') }}|{{ ' a '.lstrip() }}|{{ ' a '.rstrip() }}|{{ '\n\na\n'.strip('\n') }}|{{ 'abcba'.strip('ab') }}
{{ word.startswith('Str') }} {{ word.endswith('7') }} {{ word.startswith(('x', 'S')) }} {{ word.replace('ß', 'ss') }} {{ 'aaa'.replace('a', 'b', 2) }} {{ 'abc'.replace('', '-') }}
{{ word.find('7') }} {{ word.find('q') }} {{ 'abcabc'.rfind('b') }} {{ 'aaa'.count('a') }} {{ '-'.join(['a', 'b']) }} {{ 'prefix'.removeprefix('pre') }} {{ 'a\nb\r\nc\n'.splitlines() }} {{ '12'.isdigit() }}
{{ word.nothing is defined }} {{ word.upper is defined }} {{ deep.get('x') }} {{ deep.get('q') }} {{ deep.get('q', 5) }} {{ deep.keys() | list }} {{ deep.values() | list | length }} {{ deep.items is defined }} {{ deep['y'] }}
{{ messages.append(1) }}
{{ 'a' | default('b') }} {{ missing | default('b') }} {{ missing | d }} {{ '' | default('b', true) }} {{ none | default('b') }} {{ none | default('b', boolean=true) }}
{{ numbers | join }} {{ numbers | join(', ') }} {{ messages | join('-', attribute='role') }} {{ [none, true, 1.5] | join('|') }} {{ missing | join }}
{{ numbers | first }} {{ numbers | last }} {{ [] | first is defined }} {{ word | first }} {{ word | last }} {{ numbers | reverse | list }} {{ word | reverse }} {{ numbers | list }} {{ 'ab' | list }}
{{ numbers | reverse | length }}
{{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ messages | rejectattr('role', '==', 'user') | map(attribute='role') | join(',') }} {{ messages | selectattr('n') | list | length }} {{ messages | selectattr('n', 'defined') | map(attribute='n') | list }}
{{ numbers | select('odd') | list }} {{ numbers | reject('in', [1]) | list }} {{ [0, 1, ''] | select | list }} {{ ['a', 'b'] | map('upper') | join }} {{ messages | map(attribute='tags', default='?') | list | length }} {{ false | select | list }}
{{ messages | selectattr('role', 'equalto', 'user') | length }}
{% set g = numbers | select('odd') %}{{ g | list }}{{ g | list }}{% if g %}true{% endif %}
{{ numbers | sort }} {{ ['b', 'A', 'c'] | sort }} {{ ['b', 'A', 'c'] | sort(case_sensitive=true) }} {{ numbers | sort(reverse=true) }} {{ [2, 2, 1] | unique | list }} {{ {'b': 1, 'a': 2} | dictsort }} {{ messages | map(attribute='role') | unique | list }}
{{ '5' | int + 1 }} {{ 'x' | int }} {{ '2.7' | int }} {{ '1.5' | float }} {{ 'x' | float(9) }} {{ 3.9 | int }} {{ -3 | abs }} {{ half | string + '!' }} {{ 5 | string | length }}
{{ deep | tojson }} {{ 'é"\\/\n<>&' | tojson }} {{ none | tojson }} {{ [1.0, 1e-7, 10000000.0] | tojson }}
{{ deep | tojson(indent=2) }} {{ {} | tojson(indent=2) }} {{ [] | tojson }} {{ 'é😀' | tojson(ensure_ascii=true) }} {{ {'b': 1, 'a': [2]} | tojson(sort_keys=true, separators=(',', ':')) }}
{{ missing | tojson }}
{{ {1: 2, none: 3, true: 4} | tojson }} {{ (1, 2) | tojson }} {{ deep | tojson | safe }}
{{ 'a\nb\n\nc' | indent }}|{{ 'a\nb' | indent(2, true) }}|{{ 'a\n\nb' | indent(1, blank=true) }}|{{ 'a\n' | indent('>') }}
{{ 'aba' | replace('a', 'c') }} {{ 'aba' | replace('a', 'c', 1) }} {{ 515 | replace(5, 'x') }}
{{ 1 is number }} {{ true is number }} {{ true is integer }} {{ 1 is integer }} {{ half is float }} {{ yes is boolean }} {{ yes is true }} {{ 1 is true }} {{ no is false }} {{ none is none }} {{ missing is none }}
{{ 'a' is string }} {{ 'a' is iterable }} {{ 'a' is sequence }} {{ deep is mapping }} {{ numbers is mapping }} {{ deep is iterable }} {{ 5 is iterable }} {{ deep is sequence }} {{ range is callable }} {{ missing is iterable }}
{{ 3 is odd }} {{ 4 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ 3 is eq 3 }} {{ 3 is ne(4) }} {{ 3 is in [3] }} {{ 2 is lt 3 }} {{ 'ab' is lower }} {{ 'AB' is upper }} {{ none is sameas none }} {{ 3 is not odd }}
{{ 'a' is none or 'b' is string and not 'c' is mapping }}
{{ raise_exception('no ' ~ word) }}
{{ strftime_now('%d %b %Y') }} {{ strftime_now('%Y-%m-%d %A') }} {{ strftime_now is defined }}
{{ dict(a=1, b='c') }} {{ dict({'x': 1}, y=2) }} {{ {'a': 'it\'s', "b": "q\"q"} }} {{ [1, 'two', none, true, 1.5, (), (1,), [], {}] }}
{{ bos_token }} {{ eos_token is defined }} {{ eos_token }}
{% include 'x' %}
{{ x | no_such_filter }}
{{ x is no_such_test }}
{% unknown %}
{% if yes %}
{{ 'a
{{ (1, 2 }}
{{ 1 + }}
{# never closed
{% for in x %}{% endfor %}
{% endfor %}
{{ [1, 2,] }} {{ {'a': 1,} }} {{ (1, 2,) }}
{{ messages[0].content.split('  ')[1] | trim ~ '!' }} {{ (messages | first).role }} {{ 'x'.join(numbers | map('string')) }}
{%- set nested = [[1, [2, [3]]], {'k': [{'z': 1}]}] -%}{{ nested[0][1][1][0] }}{{ nested[1].k[0].z }}{{ nested }}
{{ loop is defined }} {{ 1 if loop }} {{ self is defined and no }}
{{ none.x is defined }} {{ 2e-3 }} {{ 1.5E+2 }} {{ ['\u00a0\u2028\ue000é😀\x7f'] }}
{{ 'a' 'b' ~ 'c' }} {{ -1 ** 2 }} {{ 2 ** 3 ** 2 }} {{ 10 - 2 - 3 }} {{ 2 * 3 % 4 }} {{ 1 ~ 2 + 3 }}
{{ not 1 == 2 }} {{ 1 == 1 == true }} {{ 'a' in 'abc' == true }}
"""


def sources():
    """Single lines; a template of several lines is given with its line breaks below."""
    lines = [line for line in TEMPLATES.strip("\n").split("\n")]
    several = ["a\n  {%- if yes %}\n  b\n  {%- endif %}\nc\n", "a\n  {% if yes %}\n  b\n  {% endif %}\nc\n", "a\n  {%+ if yes +%}\n  b\n  {%+ endif +%}\nc",
               "  {# alone #}\nafter\n\n", "\r\na\r{% if yes %}\r\nb{% endif %}\r\n\r\n", "\n\n{{- 'x' -}}\n\n  y\n", "\u3000{%- if yes -%}\u00a0x{%- endif %}\n\n", "x  {% raw %}\n y {% endraw %}\n z",
               "{% for x in numbers %}\n  {{ x }}\n{% endfor %}\n", "{# a #}\n\n{# b #}  \n{% set x = 1 %}\n  \n  {% set y = 2 %}  \n.", "{{ 'a\nb' }}\n{{ 'c\\\nd' }}", "a {#- c -#}\n b {#+ d +#}\n e"]
    return lines + several


def main():
    rows = []
    for source in sources():
        try:
            template = compile_template(source)
            template.globals["strftime_now"] = datetime.date(2025, 2, 9).strftime
            rows.append([source, template.render(bos_token="<s>", **VARIABLES)])
        except Exception:  # whatever a template raises
            rows.append([source, None])
    text = json.dumps({"variables": VARIABLES, "rows": []}, ensure_ascii=False)[:-2] + "\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]}\n"
    (HERE / "jinja.json").write_text(text)
    print(f"{len(rows)} templates, {sum(row[1] is None for row in rows)} of them raise")


main()
