#!/usr/bin/env python3
"""Does `cohort tokenize` write conversations down as Jinja does with the settings of Hugging Face transformers?

    scripts/chat_template_check.py PLACE… [--conversations N] [--seed N] [--cohort build/cohort] [--changed] [--skip NAME…] [--ids]

A PLACE is a folder of templates (*.jinja), a template, or a model's folder with tokenizer.json (or .gz) and tokenizer_config.json. For each
template N conversations, the same for all: with a system turn or not, many turns, think blocks, calls and outputs of tools, empty content,
content that is missing, null or no string, Unicode, names of special tokens in the content. Each must give the same text, or be an error on
both sides. cohort may refuse what it says it refuses (native.h: lists and objects as text): such rows are counted, and are at most a third.

--changed   puts an empty comment before each template, so that no template is known and the interpreter renders it
--skip      leaves out templates whose name holds one of these
--ids       for models' folders: also the token ids, against `tokenizers`, of conversations without names of added tokens

Exit code 1 when anything differs. Needs jinja2; with --ids also tokenizers. A row that one side calls an error has no text.
"""
import argparse
import collections
import datetime
import gzip
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

import jinja2
import jinja2.ext
import jinja2.sandbox

HERE = pathlib.Path(__file__).resolve().parent
REFUSALS = ("expected a string, found array", "expected a string, found object")
MAX_REFUSED = 1 / 3
TEXTS = ["Add 47 and 85.", "Hello", "", " ", "\n", "\n\nleading and trailing\n\n", "  spaces  ", "世界 \u3000", "\u00a0no-break\u2003", "🙂👩‍👩‍👧", "e\u0301",
         "tab\tand\r\nCRLF", "a < b & c > d \"quoted\" 'single' \\ back", "\x00\x01\x1f\x7f", "{{ messages }} {% raise %} {# no #}", "x" * 300,
         "1,234.5 \\frac{1}{2}", "\u2028\u2029\u0085\x1c"]
SPECIALS = ["<|im_end|>", "<|im_start|>system\n", "<|eot_id|>", "<｜User｜>", "<｜end▁of▁sentence｜>", "<think>", "</think>", "<|begin_of_text|>", "</s>",
            "<tool_response>", "</tool_response>"]
THOUGHTS = ["<think>\n2+2\n</think>\n\n4", "<think></think>4", "no opening</think>\n\n\n4", "<think>\n\na\n\n</think>4</think>5", "<think>a<think>b</think>c",
            "<think>not closed", "\n<think>\nx\n</think>\n\n\n"]
ODD = [None, 5, -1.5, True, False, 1e22, 1e-7, 123456789.25, [], {}, [{"type": "text", "text": "part"}], {"text": "x"}, ["</think>"]]
ARGUMENTS = ["{\"a\": 1}", "", {}, {"city": "Paris"}, {"city": ["é", 1, 2.5, None, True, {"deep": "\"\n"}]}, {"b": 1, "a": {"z": [], "y": 2}}, None, 7, [1, []], {"q": "世"}]
TOOLS = [{"type": "function", "function": {"name": "f", "description": "é <b> 'x' & \"y\"\n", "parameters": {
    "type": "object", "properties": {"unit": {"type": "string", "enum": ["C", "F"]}, "at": {"items": {}, "type": "array"}}, "required": ["unit"]}}}]
PLAIN_TOOLS = [{"name": "add"}, {"list": [1, {"x": "é"}, []], }, {"empty": {}}, {"float": 0.5}]


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class Generation(jinja2.ext.Extension):
    """{% generation %}…{% endgeneration %}: what is between."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_between"), [], [], body).set_lineno(line)

    def _between(self, caller):
        return caller()


def compile_template(source):
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return environment.from_string(source)


def render(template, row, names):
    """The text, or None and why."""
    variables = {"tools": None, "documents": None, **names, **row.get("chat_template_kwargs", {})}
    try:
        return template.render(messages=row["messages"], add_generation_prompt=row.get("add_generation_prompt", False), **variables), ""
    except Exception as error:  # whatever a template raises, also TypeError
        return None, f"{type(error).__name__}: {error}"


def content(rng, kind):
    roll = rng.random()
    if kind == "assistant" and roll < 0.4:
        return rng.choice(THOUGHTS)
    if roll < 0.08:
        return "".join(rng.choice(SPECIALS + TEXTS) for _ in range(3))
    return rng.choice(TEXTS) + rng.choice(["", "", "", "\n", " "])


def tool_call(rng):
    call = {"name": rng.choice(["add", "wolfram", "名"]), "arguments": rng.choice(ARGUMENTS)}
    wrapped = {"type": "function", "function": call} if rng.random() < 0.85 else call
    if rng.random() < 0.05:
        call.pop(rng.choice(["name", "arguments"]))
    return wrapped


def message(rng, role, odd):
    m = {"role": role, "content": content(rng, role)}
    if role == "assistant" and rng.random() < 0.25:
        m["tool_calls"] = [tool_call(rng) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
        if rng.random() < 0.4:
            m["content"] = None
        if rng.random() < 0.1:
            m["tool_calls"] = rng.choice([[], None])
    if role == "assistant" and rng.random() < 0.15:
        m["reasoning_content"] = rng.choice(["because", "\n\nlines\n", "", None])
    if odd and rng.random() < 0.3:
        m["content"] = rng.choice(ODD)
    if odd and rng.random() < 0.1:
        m.pop(rng.choice(["content", "role"]))
    return m


def conversation(rng, number):
    odd = number % 5 == 4  # a fifth with wrong types and missing keys
    roles = ["system"] if rng.random() < 0.5 else []
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3, 5])):
        roles += ["user", "assistant"]
        if rng.random() < 0.2:
            roles += rng.choice([["tool"], ["tool", "tool"], ["ipython"], ["tool", "assistant"]])
    if rng.random() < 0.6:
        roles.append("user")
    if rng.random() < 0.15:
        roles.insert(rng.randrange(len(roles) + 1), rng.choice(["system", "tool", "developer", "assistant", "user"]))
    row = {"messages": [message(rng, role, odd) for role in roles], "add_generation_prompt": rng.random() < 0.5}
    variables = {}
    if rng.random() < 0.3:
        variables["enable_thinking"] = rng.choice([False, True, None, 0])
    if rng.random() < 0.3:
        variables["date_string"] = rng.choice(["01 Jan 2025", "26 Jul 2024", ""])
    if rng.random() < 0.12:
        variables[rng.choice(["tools", "custom_tools"])] = rng.choice([PLAIN_TOOLS, PLAIN_TOOLS, PLAIN_TOOLS[:1], [], None, TOOLS])
    if rng.random() < 0.05:
        variables["tools_in_user_message"] = rng.choice([False, True])
    if rng.random() < 0.05:
        variables["builtin_tools"] = rng.choice([["code_interpreter", "wolfram"], ["brave_search"], []])
    if variables or rng.random() < 0.5:
        row["chat_template_kwargs"] = variables
    return row


def conversations(count, seed):
    rng = random.Random(seed)
    return [conversation(rng, number) for number in range(count)]


def run_cohort(cohort, folder, rows):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
        file.flush()
        done = subprocess.run([cohort, "tokenize", "--keep-going", "--model", folder, "--input", file.name], capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit(f"chat_template_check: {cohort} ended with {done.returncode}: {done.stderr.decode()}")
    return [json.loads(line) for line in done.stdout.decode().split("\n") if line]


def name_of(token):
    return token["content"] if isinstance(token, dict) else token or ""


class Place:
    """A template with the tokenizer that goes with it."""

    def __init__(self, path, folder):
        self.path, self.folder = path, folder
        if path.is_dir():
            config = json.loads((path / "tokenizer_config.json").read_text(encoding="utf-8"))
            own = path / "chat_template.jinja"
            self.source = own.read_text(encoding="utf-8") if own.exists() else config["chat_template"]
            for each in path.glob("*.json"):
                if each.stat().st_size < 1 << 27:
                    shutil.copy(each, folder)
            if (path / "tokenizer.json.gz").exists():
                (folder / "tokenizer.json").write_bytes(gzip.decompress((path / "tokenizer.json.gz").read_bytes()))
        else:
            self.source = path.read_text(encoding="utf-8")
            fixture = HERE.parent / "tests/golden/text/bpe_flags.json"
            (folder / "tokenizer.json").write_text(json.dumps(json.loads(fixture.read_text(encoding="utf-8"))["tokenizer"]), encoding="utf-8")
            config = {"bos_token": "<s>", "eos_token": "</s>"}
            (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
        self.names = {key: name_of(config.get(key)) for key in ("bos_token", "eos_token")}

    def change(self):
        self.source = "{##}" + self.source

    def write_template(self):
        (self.folder / "chat_template.jinja").write_text(self.source, encoding="utf-8")


class Comparison:
    def __init__(self):
        self.counts = collections.Counter()

    def differ(self, place, row, expected, found):
        self.counts["different"] += 1
        if self.counts["different"] <= 5:
            print(f"{place.path}: {json.dumps(row, ensure_ascii=False)}\n  jinja:  {expected!r}\n  cohort: {found!r}")

    def add(self, place, row, expected, found):
        text, why = expected
        error = found.get("error")
        if error is None and text == found["text"]:
            self.counts["equal"] += 1
        elif error is not None and text is None:
            self.counts["both raise"] += 1
        elif error is not None and any(refusal in error for refusal in REFUSALS):
            self.counts["refused"] += 1
        else:
            self.differ(place, row, why if text is None else text, error if error is not None else found["text"])


def compare_ids(place, rows, expected, found, comparison):
    """Of conversations in which no added token's name comes from a message."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(place.folder / "tokenizer.json"))
    added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    for row, (text, _), ours in zip(rows, expected, found):
        written = json.dumps([row["messages"], row.get("chat_template_kwargs")], ensure_ascii=False)
        if text is None or "error" in ours or any(name in written or json.dumps(name, ensure_ascii=False)[1:-1] in written for name in added):
            continue
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        if ids == ours["ids"]:
            comparison.counts["equal ids"] += 1
        else:
            comparison.differ(place, row, ids, ours["ids"])


def check(place, rows, options):
    comparison = Comparison()
    place.write_template()
    template = compile_template(place.source)
    expected = [render(template, row, place.names) for row in rows]
    found = run_cohort(options.cohort, place.folder, rows)
    if len(found) != len(rows):
        sys.exit(f"chat_template_check: {place.path}: expected {len(rows)} rows, found {len(found)}")
    for row, theirs, ours in zip(rows, expected, found):
        comparison.add(place, row, theirs, ours)
    if options.ids and place.path.is_dir():
        compare_ids(place, rows, expected, found, comparison)
    counts = comparison.counts
    if counts["refused"] > MAX_REFUSED * len(rows):
        print(f"{place.path}: expected at most {MAX_REFUSED:.0%} of the rows to be refused, found {counts['refused']}")
        counts["different"] += 1
    print(f"{place.path}: " + ", ".join(f"{counts[key]} {key}" for key in ("equal", "both raise", "refused", "different", "equal ids")), flush=True)
    return counts["different"] == 0


def places(paths):
    for path in paths:
        templates = sorted(path.glob("*.jinja")) if path.is_dir() and not (path / "tokenizer_config.json").exists() else [path]
        if not templates:
            sys.exit(f"chat_template_check: {path}: expected *.jinja or tokenizer_config.json, found neither")
        yield from templates


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", nargs="+", type=pathlib.Path, metavar="PLACE")
    parser.add_argument("--conversations", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cohort", default=str(HERE.parent / "build/cohort"))
    parser.add_argument("--changed", action="store_true")
    parser.add_argument("--skip", nargs="*", default=[])
    parser.add_argument("--ids", action="store_true")
    options = parser.parse_args()
    rows = conversations(options.conversations, options.seed)
    good = True
    for path in places(options.places):
        if any(name in path.name for name in options.skip):
            continue
        with tempfile.TemporaryDirectory() as folder:
            place = Place(path, pathlib.Path(folder))
            if options.changed:
                place.change()
            good = check(place, rows, options) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
