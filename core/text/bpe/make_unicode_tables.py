#!/usr/bin/env python3
"""Writes unicode_tables.inc: what the tokenizers that people publish take Unicode to be.

    python core/text/bpe/make_unicode_tables.py        # needs unicodedata2==16.0.0 and tokenizers==0.23.3

The Python package `tokenizers` is made of parts with Unicode tables of different age, and the ids of a text depend on each of them:
  regular expressions (Oniguruma)          Unicode 16: general categories L M N P S, and white space
  Digits (Rust's char::is_numeric)         Unicode 17
  word characters around added tokens      those of Rust's regex crate
  NFC (unicode-normalization-alignments)   Unicode 9: younger marks are not ordered, younger composites not made
General categories come from unicodedata2; the rest is asked of `tokenizers` for every code point, and the categories are compared with it.
"""
import pathlib

import unicodedata2
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE

CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
LETTER, MARK, NUMBER, PUNCTUATION, SYMBOL, SPACE, NUMERIC, WORD = (1 << i for i in range(8))
CATEGORIES = {"L": LETTER, "M": MARK, "N": NUMBER, "P": PUNCTUATION, "S": SYMBOL}
NFC, NFD = normalizers.NFC().normalize_str, normalizers.NFD().normalize_str


def removed_by(pattern):
    split = pre_tokenizers.Split(Regex(pattern), "removed")
    return {c for c in CODES if not split.pre_tokenize_str(chr(c))}


def word_characters():
    """After which a token with single_word is not found."""
    tokenizer = Tokenizer(BPE({"x": 0}, []))
    tokenizer.add_tokens([AddedToken("@@", single_word=True, normalized=False)])
    at = tokenizer.token_to_id("@@")
    return {c for c in CODES if c != ord("@") and at not in tokenizer.encode(chr(c) + "@@").ids}


def flags_of_codes():
    flags = dict.fromkeys(CODES, 0)
    for c in CODES:
        flags[c] |= CATEGORIES.get(unicodedata2.category(chr(c))[0], 0)
    for letter, bit in CATEGORIES.items():
        assert removed_by(r"\p{%s}" % letter) == {c for c in CODES if flags[c] & bit}, letter
    digits = pre_tokenizers.Digits(individual_digits=True)
    for c in removed_by(r"\s"):
        flags[c] |= SPACE
    for c in CODES:
        if len(digits.pre_tokenize_str("a" + chr(c))) == 2:
            flags[c] |= NUMERIC
    for c in word_characters():
        flags[c] |= WORD
    return flags


def combining_classes():
    iota = chr(0x345)  # of the highest class
    marks = {240: iota}  # of each class the first mark that it knows
    for c in CODES:
        if unicodedata2.combining(chr(c)) and NFD("q" + iota + chr(c)) == "q" + chr(c) + iota:
            marks.setdefault(unicodedata2.combining(chr(c)), chr(c))
    classes = {}
    for c in CODES:
        x = chr(c)
        if NFD(x) != x:
            continue  # its parts count
        if x not in marks.values() and NFD("q" + iota + x) != "q" + x + iota and NFD("q" + x + marks[1]) != "q" + marks[1] + x:
            continue
        below = [k for k, m in marks.items() if m != x and NFD("q" + x + m) == "q" + m + x]
        above = [k for k, m in marks.items() if m != x and NFD("q" + m + x) == "q" + x + m]
        equal = set(marks) - set(below) - set(above)
        assert len(equal) == 1, (hex(c), equal)
        classes[c] = equal.pop()
    return classes


def decompositions():
    """(code, first, second or 0, whether it is composed again): one step each."""
    rows = []
    for c in CODES:
        parts = unicodedata2.decomposition(chr(c)).split()
        if not parts or parts[0].startswith("<"):
            continue
        first, second = int(parts[0], 16), int(parts[1], 16) if len(parts) > 1 else 0
        if NFC(chr(c)) != chr(c):
            rows.append((c, first, second, 0))
        elif second and NFC(chr(first) + chr(second)) == chr(c):
            rows.append((c, first, second, 1))
    return rows


def ranges(values):
    """[first, last, value] of each run of equal values."""
    rows = []
    for c in sorted(c for c in values if values[c]):
        if rows and rows[-1][1] == c - 1 and rows[-1][2] == values[c]:
            rows[-1][1] = c
        else:
            rows.append([c, c, values[c]])
    return rows


def lines(name, rows):
    cells = ["{" + ",".join(f"0x{v:X}" if i < 2 else str(v) for i, v in enumerate(row)) + "}" for row in rows]
    text = f"constexpr {name}[] = {{\n"
    line = ""
    for cell in cells:
        if len(line) + len(cell) > 136:
            text += line + "\n"
            line = ""
        line += cell + ","
    return text + line + "\n};\n"


def main():
    path = pathlib.Path(__file__).with_name("unicode_tables.inc")
    path.write_text("// Made by make_unicode_tables.py. clang-format off\n" +
                    lines("FlagRange kFlags", ranges(flags_of_codes())) +
                    lines("ClassRange kCombiningClasses", ranges(combining_classes())) +
                    lines("Decomposition kDecompositions", [(c, a, f"0x{b:X}", again) for c, a, b, again in decompositions()]) +
                    "// clang-format on\n")


if __name__ == "__main__":
    main()
