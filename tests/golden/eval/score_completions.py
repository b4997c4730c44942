#!/usr/bin/env python3
"""Scores recorded completions without any code of the program: answers by regular expressions, pass@k by counting subsets, cons@k by voting.

    score_completions.py --make    writes completions.jsonl (seeded) and expected.json
    score_completions.py FILE      prints what expected.json has for another file of such rows

Only what the fixture has: whole numbers as ground truths, commas and leading zeros apart. The answer is the last number of what a tag marks as
the answer, or of the completion; where the source is not gsm8k (verifier "number") that of the last \\boxed{}, if there is one.
"""

import collections
import fractions
import itertools
import json
import math
import pathlib
import random
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
FORMS = ["So the answer is {}.", "<think>\nmaybe 3 or 5\n</think>\n{}", "<think>17?</think><answer>{}</answer>", "Thus $\\boxed{{{}}}$",
         "$\\boxed{{1}}$, no: $\\boxed{{{}}}$ and 9 more words", "{}"]


def answer_of(completion, boxes_count):
    """The value answered, or None."""
    if "<answer>" in completion:
        completion = completion.rsplit("<answer>", 1)[1].split("</answer>")[0]
    elif "</think>" in completion:
        completion = completion.rsplit("</think>", 1)[1]
    boxed = re.findall(r"\\boxed\{([^{}]*)\}", completion) if boxes_count else []
    numbers = re.findall(r"-?\d[\d,]*", boxed[-1] if boxed else completion)
    return int(numbers[-1].replace(",", "")) if numbers else None


def pass_at_k(right, k):
    """By going through all subsets of k of the samples."""
    subsets = list(itertools.combinations(right, k))
    return fractions.Fraction(sum(any(s) for s in subsets), len(subsets))


def score(rows):
    n = len(rows[0]["completions"])
    ks = sorted({2 ** i for i in range(n.bit_length()) if 2 ** i <= n} | {n})
    passed = {k: fractions.Fraction(0) for k in ks}
    agreed = 0
    for row in rows:
        truth = int(row["ground_truth"].replace(",", ""))
        answers = [answer_of(c, row["source"] != "gsm8k" or row["boxes_count"]) for c in row["completions"]]
        right = [a == truth for a in answers]
        for k in ks:
            passed[k] += pass_at_k(right, k)
        votes = collections.Counter(a for a in answers if a is not None)
        if votes:
            most = max(votes.values())
            winner = next(a for a in answers if a is not None and votes[a] == most)  # of equals the first
            agreed += winner == truth
    result = {"questions": len(rows), "samples_per_question": n}
    for k in ks:
        result[f"pass@{k}"] = float(passed[k] / len(rows))
    result[f"cons@{n}"] = agreed / len(rows)
    return result


def spelled(value, source):
    return f"{value:03d}" if source == "aime" and 0 <= value < 1000 else f"{value:,}" if value > 999 and source == "gsm8k" else str(value)


def make():
    rng = random.Random(20250122)
    rows = []
    for i in range(60):
        source = "gsm8k" if i % 2 else "aime"
        truth = rng.randrange(0, 1000 if source == "aime" else 5000)
        skill = rng.random() ** 2
        near = [truth + 1, truth + 10, max(0, truth - 7)]
        completions = []
        for _ in range(10):
            value = truth if rng.random() < skill else rng.choice(near)
            text = rng.choice(FORMS).format(spelled(value, rng.choice(["gsm8k", "aime", ""])))
            completions.append("I do not know." if rng.random() < 0.05 else text)
        if i % 4 == 0:
            rows.append({"question": f"Question {i}?", "ground_truth": spelled(truth, source), "completions": completions, "data_source": source})
        else:
            rows.append({"data_source": source, "prompt": [{"role": "user", "content": f"Question {i}?"}],
                         "reward_model": {"style": "rule", "ground_truth": spelled(truth, source)}, "responses": completions})
    with open(HERE / "completions.jsonl", "w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row) + "\n")


def read(path):
    rows = [json.loads(line) for line in open(path, encoding="utf-8")]
    # A row {question, ground_truth} is checked by the verifier "math" whatever its source.
    return [{"ground_truth": r["ground_truth"] if "ground_truth" in r else r["reward_model"]["ground_truth"],
             "completions": r.get("completions") or r["responses"], "source": r["data_source"],
             "boxes_count": "reward_model" not in r} for r in rows]


def main():
    if sys.argv[1:] == ["--make"]:
        make()
        rows = read(HERE / "completions.jsonl")
        result = score(rows)
        result["sources"] = {s: score([r for r in rows if r["source"] == s]) for s in ("aime", "gsm8k")}
        (HERE / "expected.json").write_text(json.dumps(result, indent=2) + "\n")
    else:
        print(json.dumps(score(read(sys.argv[1])), indent=2))


if __name__ == "__main__":
    assert math.comb(4, 2) == 6
    main()
