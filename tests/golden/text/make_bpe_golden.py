#!/usr/bin/env python3
"""Writes tests/golden/text/bpe_NAME.json: small tokenizers with the pre-tokenizers of published ones, and what `tokenizers` makes of texts.

    python tests/golden/text/make_bpe_golden.py      # needs tokenizers==0.23.3

Each file: {"tokenizer": a tokenizer.json, "cases": [{"text", "ids", "offsets", "plain", "decoded", "skipped"}], "pieces": [{"ids", "decoded"}]}.
`ids` and `offsets` are those of Tokenizer.encode(text); `plain` the ids of the same tokenizer without added tokens and post-processor.
"""
import json
import pathlib
import random
import sys

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "scripts"))
from tokenizer_check import SPACES, WORDS, random_string  # noqa: E402

QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = ("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*"
            "|\\s*[\r\n]+|\\s+(?!\\S)|\\s+")
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def byte_level(prefix=False, regex=False, trim=False):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": trim, "use_regex": regex}


def sequence(*parts):
    return {"type": "Sequence", "pretokenizers": list(parts)}


def template(*ids):
    return {"type": "TemplateProcessing", "pair": [],
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                       {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "special_tokens": {name: {"id": name, "ids": [number], "tokens": [name]} for name, number in ids}}


def token(content, **flags):
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True} | flags


CHAT = [token("<|im_start|>"), token("<|im_end|>"), token("<think>", special=False), token("</think>", special=False)]
FLAGS = [token("<s>"), token("</s>"), token("<l>", lstrip=True), token("<r>", rstrip=True), token("<w>", single_word=True),
         token("wörd", single_word=True, normalized=True, special=False), token("<lr>", lstrip=True, rstrip=True, special=False),
         token("e\u0301\u0323", normalized=True, special=False), token("<s>x", normalized=True, special=False), token("  ", special=False)]

TOKENIZERS = {
    "qwen2": {"pre": sequence(split(QWEN2), byte_level()), "normalizer": {"type": "NFC"}, "added": CHAT, "post": byte_level()},
    "deepseek": {"pre": sequence(split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(DEEPSEEK), byte_level()),
                 "normalizer": {"type": "Sequence", "normalizers": []}, "added": [dict(t, normalized=True) for t in CHAT],
                 "post": byte_level(prefix=True, regex=True), "legacy": True},
    "llama3": {"pre": sequence(split(QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|")), byte_level()), "ignore_merges": True, "added": FLAGS[:2],
               "post": "template"},
    "smollm": {"pre": sequence({"type": "Digits", "individual_digits": True}, byte_level(regex=True, trim=True)), "added": CHAT, "lacks": True},
    "gpt2": {"pre": byte_level(prefix=True, regex=True, trim=True), "added": FLAGS, "post": byte_level(prefix=True, regex=True, trim=True),
             "legacy": True},
    "flags": {"pre": sequence(split(QWEN2), byte_level(prefix=True)), "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]},
              "added": FLAGS, "post": "trimmed template"},
    "foreign": {"pre": sequence(split(GPT4O), byte_level()), "added": FLAGS},
    "empty": {"pre": sequence(split("x*", "MergedWithPrevious"), split("(?=a)", "MergedWithNext"), byte_level()), "added": CHAT},
    "behaviors": {"pre": sequence(split(" ", "MergedWithNext", kind="String"), split(r"[a-l]", "MergedWithPrevious"),
                                  split(r"[xyz]", "Removed"), split(r"[\p{L}\p{M}\p{N}]+|[^\p{L}\p{M}\p{N}\s]+", "Removed", invert=True), split("[mn]+|o", "Contiguous"),
                                  {"type": "Digits", "individual_digits": False}, byte_level()), "added": CHAT},
}


def build(name, config, rng):
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    texts = [" ".join(rng.choices(WORDS, k=30)) + "".join(rng.choices(SPACES, k=4)) + str(rng.randint(0, 10**6)) for _ in range(400)]
    alphabet = [] if config.get("lacks") else pre_tokenizers.ByteLevel.alphabet()
    trained.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=700, initial_alphabet=alphabet, show_progress=False))
    published = json.loads(trained.to_str())
    size = len(published["model"]["vocab"])
    added = [dict(t, id=size + i) for i, t in enumerate(config["added"])]
    ids = [(t["content"], t["id"]) for t in added[:2]]
    post = config.get("post")
    if post == "template":
        post = template(*ids)
    elif post == "trimmed template":
        post = {"type": "Sequence", "processors": [byte_level(trim=True), template(*ids)]}
    published |= {"normalizer": config.get("normalizer"), "pre_tokenizer": config["pre"], "post_processor": post, "added_tokens": added,
                  "decoder": byte_level(prefix=True, regex=True, trim=True)}
    published["model"]["ignore_merges"] = config.get("ignore_merges", False)
    if config.get("ignore_merges"):  # some tokens are then only found as whole words
        published["model"]["merges"] = [pair for pair in published["model"]["merges"] if rng.random() < 0.7]
    if config.get("legacy"):
        published["model"]["merges"] = [" ".join(pair) for pair in published["model"]["merges"]]
    return published


def main():
    for name, config in TOKENIZERS.items():
        rng = random.Random(name)
        published = build(name, config, rng)
        tokenizer = Tokenizer.from_str(json.dumps(published))
        plain = Tokenizer.from_str(json.dumps(published | {"added_tokens": [], "post_processor": None}))
        contents = [t["content"] for t in config["added"]]
        cases = []
        for text in ["", " ", "a", *WORDS, *contents, *(a + space + b for a in contents for b in contents for space in ("", " ", "  ", " x")), "it'\u017fa", *(random_string(rng, contents) for _ in range(150))]:
            encoding = tokenizer.encode(text)
            cases.append({"text": text, "ids": encoding.ids, "offsets": encoding.offsets, "plain": plain.encode(text).ids,
                          "decoded": tokenizer.decode(encoding.ids, skip_special_tokens=False),
                          "skipped": tokenizer.decode(encoding.ids, skip_special_tokens=True)})
        size = tokenizer.get_vocab_size()
        pieces = [[rng.randrange(size if rng.random() < 0.3 else 256) for _ in range(rng.randint(1, 9))] for _ in range(60)]
        pieces = [{"ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False)} for ids in pieces]
        path = HERE / f"bpe_{name}.json"
        path.write_text(json.dumps({"tokenizer": published, "cases": cases, "pieces": pieces}, ensure_ascii=False, separators=(",", ":")) + "\n",
                        encoding="utf-8")
        print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
