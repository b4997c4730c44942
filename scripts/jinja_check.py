#!/usr/bin/env python3
"""Does the interpreter of chat templates (core/text/jinja) give what Jinja2 gives? Random templates, for people (needs jinja2).

    scripts/jinja_check.py [--tests build/cohort_tests] [--count 20000] [--seed 1]

Makes templates out of the constructs that chat templates use, many of them wrong (types that do not fit, undefined names), renders them with
Jinja2 as transformers sets it up and has cohort_tests render them. Where both give a text, it must be the same; where Jinja2 raises, cohort
must. cohort may refuse what Jinja2 renders: those are counted, and the commonest reasons printed.
"""
import argparse
import copy
import datetime
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from chat_template_check import compile_template  # noqa: E402

VARIABLES = {"messages": [{"role": "system", "content": "Be  brief. "}, {"role": "user", "content": "Hé \"you\"\n<think>x</think>\n"}, {"role": "assistant", "content": None, "n": 3},
                          {"role": "tool", "content": [{"type": "text", "text": "a"}], "tags": ["b", "A", "c"]}],
             "numbers": [3, 1, 2, -4, 0], "yes": True, "no": False, "nothing": None, "word": "Straße 7", "half": 0.5, "empty": "", "none_list": [], "deep": {"x": [1, 2.5, True, None, "ü"], "y": {}, "k": "v"}}
NAMES = list(VARIABLES) + ["missing", "ns", "loop", "item", "x"]
STRINGS = ["'a'", "''", "'role'", "'user'", "\"it's\"", "'\\n'", "' '", "'</think>'", "'x'", "'content'", "'ab ab'"]
NUMBERS = ["0", "1", "2", "-1", "3", "1.5", "10", "0.25"]
FILTERS = ["trim", "length", "upper", "lower", "list", "string", "tojson", "join", "join(', ')", "first", "last", "reverse", "default('d')", "default('d', true)", "int", "float", "abs", "sort", "unique", "items", "title",
           "capitalize", "replace('a', 'b')", "selectattr('role', 'equalto', 'user')", "rejectattr('content')", "map(attribute='role')", "map('string')", "map('upper')", "select", "select('string')", "reject('none')", "tojson(indent=2)",
           "indent", "indent(2, true)", "dictsort", "count", "d", "trim('ab')", "select('in', [1, 'a'])", "join('-', attribute='role')"]
TESTS = ["defined", "undefined", "none", "string", "mapping", "iterable", "sequence", "number", "boolean", "true", "false", "integer", "float", "odd", "even", "callable", "equalto(1)", "in [1, 'a']", "eq 'a'", "lt 2", "divisibleby 2", "sameas none"]
METHODS = ["strip()", "lstrip()", "rstrip('\\n')", "split()", "split('a')", "split('</think>')", "split('a', 1)", "startswith('a')", "endswith(' ')", "replace('a', 'bb')", "upper()", "title()", "items()", "keys()", "values()", "get('x')",
           "get('role', 1)", "find('a')", "count('a')", "splitlines()", "index(1)", "capitalize()", "rsplit(' ', 1)", "removeprefix('a')", "join(['p', 'q'])", "append(1)", "isdigit()", "nothing()"]
MEMBERS = [".role", ".content", "['role']", "[0]", "[-1]", ".x", ".y", "[1:]", "[::-1]", "[:2]", "['n']", ".length", ".index", ".first", "[::2]", "[-2:]", ".k", "[nothing]", ".items"]
BINARY = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", ">", "<=", ">=", "in", "not in", "and", "or", "+", "~", "=="]


def expression(rng, depth):
    if depth <= 0 or rng.random() < 0.25:
        return rng.choice([rng.choice(NAMES), rng.choice(NAMES), rng.choice(STRINGS), rng.choice(NUMBERS), rng.choice(["true", "none", "[]", "{}", "namespace(a=1)", "range(3)", "(1, 2)"])])
    inner = lambda: expression(rng, depth - 1)
    roll = rng.random()
    if roll < 0.18:
        return f"{inner()} | {rng.choice(FILTERS)}"
    if roll < 0.32:
        return f"{inner()}{rng.choice(MEMBERS)}"
    if roll < 0.42:
        return f"{inner()}.{rng.choice(METHODS)}"
    if roll < 0.62:
        return f"{inner()} {rng.choice(BINARY)} {inner()}"
    if roll < 0.70:
        return f"{inner()} is {rng.choice(['', 'not '])}{rng.choice(TESTS)}"
    if roll < 0.76:
        return f"({inner()})"
    if roll < 0.82:
        return f"{inner()} if {inner()}" + (f" else {inner()}" if rng.random() < 0.7 else "")
    if roll < 0.87:
        return f"[{inner()}, {inner()}]"
    if roll < 0.90:
        return f"{{{rng.choice(STRINGS)}: {inner()}}}"
    if roll < 0.94:
        return f"{rng.choice(['not ', '-', '+'])}{inner()}"
    return f"f({inner()}{rng.choice([', 1', ', b=2', ''])})"


def tag(rng, text):
    return "{%" + rng.choice(["", "", "-", "+"]) + f" {text} " + rng.choice(["", "", "-", "+"]) + "%}"


def statements(rng, depth):
    return "".join(statement(rng, depth) for _ in range(rng.choice([1, 1, 2, 3])))


def statement(rng, depth):
    roll = rng.random()
    value = lambda: expression(rng, rng.choice([1, 2, 2, 3]))
    if depth <= 0 or roll < 0.45:
        return "{{" + rng.choice(["", "-"]) + f" {value()} " + rng.choice(["", "-"]) + "}}"
    if roll < 0.58:
        return rng.choice(["text", "\n", "  \n  ", " x\n", "\t", "{# c #}", "{#- c -#}\n", "\n\n", "{% raw %} {{ r }} {% endraw %}\n"])
    if roll < 0.70:
        return tag(rng, f"if {value()}") + statements(rng, depth - 1) + (tag(rng, f"elif {value()}") + statements(rng, depth - 1) if rng.random() < 0.3 else "") + (tag(rng, "else") + statements(rng, depth - 1) if rng.random() < 0.5 else "") + tag(rng, "endif")
    if roll < 0.84:
        walked = rng.choice(["messages", "numbers", "deep", "word", value()])
        body = statements(rng, depth - 1) + (tag(rng, rng.choice(["break", "continue"])) if rng.random() < 0.1 else "")
        return tag(rng, f"for item in {walked}" + (f" if {value()}" if rng.random() < 0.15 else "")) + body + (tag(rng, "else") + statements(rng, depth - 1) if rng.random() < 0.2 else "") + tag(rng, "endfor")
    if roll < 0.92:
        return tag(rng, rng.choice([f"set x = {value()}", f"set ns.a = {value()}", f"set x, item = {value()}"]))
    if roll < 0.95:
        return tag(rng, "set x") + statements(rng, depth - 1) + tag(rng, "endset")
    if roll < 0.97:
        return tag(rng, "generation") + statements(rng, depth - 1) + tag(rng, "endgeneration")
    return tag(rng, f"with x = {value()}") + statements(rng, depth - 1) + tag(rng, "endwith")


def template(rng):
    text = rng.choice(["", "{% set ns = namespace(a=0) %}"]) + rng.choice(["", "{% macro f(a, b='b') %}[{{ a }}{{ b }}]{% endmacro %}"])
    return text + statements(rng, 3)


def make_rows(count, seed):
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        source = template(rng)
        try:
            compiled = compile_template(source)
            compiled.globals["strftime_now"] = datetime.date(2025, 2, 9).strftime
            text = compiled.render(bos_token="<s>", **copy.deepcopy(VARIABLES))  # indent of a list changes it
        except Exception:  # whatever a template raises
            text = None
        if text is None or " object at 0x" not in text and "<bound method" not in text and "<built-in" not in text and "<function" not in text:
            rows.append([source, text])
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", default="build/cohort_tests")
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", help="only write the templates and what Jinja2 makes of them")
    options = parser.parse_args()
    rows = make_rows(options.count, options.seed)
    print(f"{len(rows)} templates, {sum(text is None for _, text in rows)} of them raise")
    text = json.dumps({"variables": VARIABLES, "rows": rows}, ensure_ascii=False)
    if options.out:
        pathlib.Path(options.out).write_text(text)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "rows.json")
        path.write_text(text)
        done = subprocess.run([options.tests, "[.jinja]"], env={**os.environ, "COHORT_JINJA_ROWS": str(path)})
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
