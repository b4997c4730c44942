#!/usr/bin/env python3
"""Does `cohort tokenize` give the ids of the Python package `tokenizers`? Compared to the last id and offset, on:

  every Unicode code point alone, between letters, and behind an apostrophe, a space and a letter
  random strings: scripts, runs of white space, digits, combining marks, emoji, added tokens inside of text
  random ids back to text, most of them not whole characters
  decode(encode(x)) = x under the tokenizer's normaliser

    scripts/tokenizer_check.py FOLDER… [--strings N] [--seed N] [--cohort build/cohort] [--no-code-points]

A FOLDER holds tokenizer.json or tokenizer.json.gz. N strings are shared by the folders. Exit code 1 when anything differs.
Needs tokenizers==0.23.3. A million strings and all code points take about ten minutes a tokenizer.
"""
import argparse
import gzip
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer

BATCH = 100_000
RANGES = [(0x20, 0x7E), (0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x52F), (0x590, 0x6FF), (0x900, 0xDFF), (0xE00, 0xEFF),
          (0x1100, 0x11FF), (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x2BFF), (0x3000, 0x30FF), (0x3400, 0x9FFF), (0xAC00, 0xD7A3),
          (0xF900, 0xFAFF), (0xFE00, 0xFFEF), (0x10000, 0x1DFFF), (0x1F000, 0x1FAFF), (0x20000, 0x2A6DF), (0xE0000, 0xE01EF), (0, 0x10FFFF)]
SPACES = [" ", "  ", "   ", "\n", "\r\n", "\t", "\u00a0", "\u2003", "\u3000", "\u0085", "\u2028", "\x0b", " \n", "\n ", "\n\n", "        "]
WORDS = ["the", "I'm", "don't", "we'LL", "it'S", "'\u017f", "they've", "x'd", "Hello", "World", "fooBar", "naïve", "e\u0301", "A\u030a", "ﬁ", "Straße",
         "ΑΣ", "привет", "мир", "سلام", "שלום", "नमस्ते", "สวัสดี", "안녕", "\u1100\u1161\u11a8", "世界", "你好", "こんにちは", "カタカナ", "が", "か\u3099",
         "🙂", "👩‍👩‍👧", "🏳️‍🌈", "🇩🇪", "½", "①", "Ⅳ", "٣٤", "१२३", "∑∫", "→", "$x^2$", "\\frac{1}{2}", "a_b", "--", "...", "!?", "<", ">", "|",
         "def f(x):", "return", "https://a.b/c?d=e&f", "\u200b", "\ufeff", "\u0344", "\u0f73\u0f74", "q\u0307\u0323", "\U0001d15e", "\u212b", "\u0958",
         "\u1715", "\U00016ff0", "\U00011dea", "\x00", "\x7f"]


def b2u_missing(tokenizer):
    """Bytes that have no token."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        letters.setdefault(byte, chr(0x100 + len(letters) - len(printable)))
    return {byte for byte, letter in letters.items() if tokenizer.token_to_id(letter) is None}


def random_character(rng):
    low, high = rng.choice(RANGES)
    code = rng.randint(low, high)
    return chr(code) if not 0xD800 <= code < 0xE000 else "a"


def random_string(rng, added):
    parts = []
    for _ in range(rng.choice([1, 2, 3, 5, 8, 13, 21])):
        kind = rng.random()
        if kind < 0.25:
            parts.append(rng.choice(WORDS))
        elif kind < 0.45:
            parts.append(rng.choice(SPACES))
        elif kind < 0.55:
            parts.append("".join(rng.choice("0123456789") for _ in range(rng.randint(1, 9))))
        elif kind < 0.62 and added:
            token = rng.choice(added)
            parts.append(token if rng.random() < 0.8 else token[:rng.randint(1, len(token))])
        else:
            parts.append("".join(random_character(rng) for _ in range(rng.randint(1, 6))))
    return "".join(parts)


def code_points():
    for code in range(0x110000):
        if not 0xD800 <= code < 0xE000:
            x = chr(code)
            yield x
            yield "a" + x + "b"
            yield "'" + x + " " + x + "a"


def batches(strings):
    batch = []
    for string in strings:
        batch.append(string)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


class Check:
    def __init__(self, cohort, folder, scratch):
        self.cohort, self.folder, self.scratch = cohort, folder, scratch
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.missing = b2u_missing(self.tokenizer)
        self.added = [token.content for token in self.tokenizer.get_added_tokens_decoder().values()]
        self.normalize = self.tokenizer.normalizer.normalize_str if self.tokenizer.normalizer else lambda x: x
        self.compared = self.tokens = self.differences = 0

    def run(self, rows, *flags):
        source, target = self.scratch / "in.jsonl", self.scratch / "out.jsonl"
        with open(source, "w", encoding="utf-8") as f:
            for row in rows:
                f.write(json.dumps(row, ensure_ascii=False) + "\n")
        subprocess.run([self.cohort, "tokenize", "--model", self.folder, "--input", source, "--output", target, *flags], check=True,
                       stderr=subprocess.DEVNULL)
        with open(target, encoding="utf-8", newline="\n") as f:
            return [json.loads(line) for line in f.read().split("\n")[:-1]]

    def differs(self, what, *values):
        self.differences += 1
        if self.differences <= 10:
            print(f"  {what}:", *map(ascii, values), sep="\n    ")

    def encode(self, strings):
        """Returns the ids."""
        ours = self.run(({"text": s} for s in strings), "--offsets")
        theirs = self.tokenizer.encode_batch(strings)
        assert len(ours) == len(theirs)
        for string, a, b in zip(strings, ours, theirs):
            self.compared += 1
            self.tokens += len(b.ids)
            if a["text"] != string or a["ids"] != b.ids or [tuple(o) for o in a["offsets"]] != b.offsets:
                self.differs("encode", string, a["ids"], b.ids, a["offsets"], b.offsets)
        return [b.ids for b in theirs]

    def decode(self, sequences, *flags):
        ours = [row["text"] for row in self.run(({"ids": ids} for ids in sequences), "--decode", *flags)]
        theirs = self.tokenizer.decode_batch(sequences, skip_special_tokens=bool(flags))
        for ids, a, b in zip(sequences, ours, theirs):
            self.compared += 1
            if a != b:
                self.differs("decode", ids, a, b)
        return ours

    def round_trip(self, strings, ids):
        for string, text in zip(strings, self.decode(ids)):
            lost = self.missing.intersection(self.normalize(string).encode())
            # What stands beside an added token is not composed with it while encoding.
            if not lost and self.normalize(text) != self.normalize(string):
                self.differs("round trip", string, text)


def unpack(folder, scratch):
    target = scratch / folder.name
    target.mkdir()
    for file in folder.glob("*.json*"):
        if file.suffix == ".gz":
            with gzip.open(file) as source, open(target / file.stem, "wb") as out:
                shutil.copyfileobj(source, out)
        else:
            shutil.copy(file, target)
    return target


def check(folder, args, strings, scratch):
    one = Check(args.cohort, unpack(folder, scratch), scratch)
    rng = random.Random(f"{args.seed} {folder.name}")
    if not args.no_code_points:
        for batch in batches(code_points()):
            one.encode(batch)
    for batch in batches(random_string(rng, one.added) for _ in range(strings)):
        one.round_trip(batch, one.encode(batch))
    size = one.tokenizer.get_vocab_size()
    sequences = [[rng.randrange(size if rng.random() < 0.5 else 300) for _ in range(rng.randint(1, 12))] for _ in range(min(strings, BATCH))]
    one.decode(sequences)
    one.decode(sequences, "--skip-special-tokens")
    print(f"{folder.name}: {one.compared} compared, {one.tokens} tokens, {one.differences} differences", flush=True)
    return one.differences


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("--strings", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--cohort", default=pathlib.Path(__file__).resolve().parent.parent / "build" / "cohort")
    parser.add_argument("--no-code-points", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        return 1 if sum([check(f.resolve(), args, args.strings // len(args.folders), pathlib.Path(scratch)) for f in args.folders]) else 0


if __name__ == "__main__":
    sys.exit(main())
