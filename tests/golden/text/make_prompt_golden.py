#!/usr/bin/env python3
"""Writes tests/golden/text/prompts.json: prompts and completions of the raw templates (core/text/template.h) as `tokenizers` encodes their texts.

    python tests/golden/text/make_prompt_golden.py      # needs tokenizers==0.23.3

{TOKENIZER of bpe_TOKENIZER.json: {"prompts": [{"template", "question", "ids"}], "completions": [{"template", "think", "answer", "ids"}]}}.
Prompts begin with what the post-processor puts before a text; completions come without the end token.
"""
import json
import pathlib

from tokenizers import Tokenizer

HERE = pathlib.Path(__file__).resolve().parent
R1_ZERO = ("This is a conversation between User and Assistant. User asks something and Assistant works it out. Assistant first thinks the "
           "question through in private and then gives User the result. The thinking is written between <think> and </think> and the result "
           "between <answer> and </answer>, that is: <think> thinking </think> <answer> result </answer>.\nUser: ")
PROMPTS = {"r1_zero": (R1_ZERO, "\nAssistant:"), "r1_zero_brief": ("User: ", "\nAssistant:"), "plain": ("", "")}
COMPLETIONS = {"r1_zero": "<think>{}</think><answer>{}</answer>", "chat": "<think>\n{}\n</think>\n{}", "chat_think": "{}\n</think>\n{}"}
QUESTIONS = ["What is 2+2?", "the World, I'm here!", "trailing ", "\u0301combining", "\n12345", "你好 世界"]
THOUGHTS = [("8 * 9 = 72.", "72"), ("don't…\n", "the answer is 1,024."), (" Hello", "\nWorld"), ("世界。", "你好")]


def begin_ids(tokenizer):
    """What comes before a text, of a tokenizer that may also put something behind it."""
    encoding = tokenizer.encode("x")
    return encoding.ids[:encoding.special_tokens_mask.index(0)]


def main():
    golden = {}
    for name in ("qwen2", "deepseek", "llama3", "smollm", "gpt2", "flags", "foreign"):
        published = json.loads((HERE / f"bpe_{name}.json").read_text(encoding="utf-8"))["tokenizer"]
        tokenizer = Tokenizer.from_str(json.dumps(published))
        before = begin_ids(tokenizer)

        def ids(text):
            return tokenizer.encode(text, add_special_tokens=False).ids

        golden[name] = {
            "prompts": [{"template": template, "question": question, "ids": before + ids(first + question + last)}
                        for template, (first, last) in PROMPTS.items() for question in QUESTIONS],
            "completions": [{"template": template, "think": think, "answer": answer, "ids": ids(form.format(think, answer))}
                            for template, form in COMPLETIONS.items() for think, answer in THOUGHTS]}
    path = HERE / "prompts.json"
    path.write_text(json.dumps(golden, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
