#!/usr/bin/env python3
"""What was learned: tables and verdicts from finished run folders.

    scripts/learning_table.py RUN…      e.g. scripts/learning_table.py runs/seed17 runs/seed18 runs/seed19

Runs of one recipe (run.name) are seeds of one table: mean [min-max] over runs. Numbers are those of RUN/summary.json, measured on held-out
questions; for RL stages the first row is the model that the stage began with, under the stage's own template. A line below the table says of
each of the recipe's claims whether it holds: `ok` when it does in every run, otherwise `NOT met`. Runs named calibration_a and calibration_b… get
the pass lines of those tests; their reward is that of the last step in RUN/metrics.jsonl.

Exit code: 0, 1 when something is not met, 2 when a folder holds no run.
"""

import json
import pathlib
import sys

KEYS = ["accuracy", "format", "language", "preference", "helpfulness", "safety"]
EXACT = 1e-9  # slack for the rounding of differences


class Run:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        summary = json.loads((self.folder / "summary.json").read_text(encoding="utf-8"))
        self.name, self.seed = summary["name"], summary["seed"]
        self.stages = {stage["name"]: stage for stage in summary["stages"]}

    def value(self, stage, key, when="eval"):
        """None where the stage is not done or the number does not apply."""
        return self.stages.get(stage, {}).get(when, {}).get(key)

    def unfinished(self):
        return [name for name, stage in self.stages.items() if stage["status"] != "done"]

    def last_reward(self, stage):
        """Mean reward of the stage's last step, or None."""
        if self.stages.get(stage, {}).get("status") != "done":
            return None
        last = None
        with open(self.folder / "metrics.jsonl", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                if row["stage"] == stage and row["step"] == self.stages[stage]["steps"]:
                    last = row.get("reward/mean")
        return last


def spread(values):
    """mean [min-max] of the numbers there are."""
    known = [v for v in values if v is not None]
    if not known:
        return "-"
    mean = f"{sum(known) / len(known):.3f}"
    return mean if len(known) == 1 else f"{mean} [{min(known):.3f}–{max(known):.3f}]"


# ---- the recipe's claims --------------------------------------------------------------------------------------------------------------


def end(stage, key):
    return lambda run: run.value(stage, key)


def start(stage, key):
    return lambda run: run.value(stage, key, "eval_start")


def difference(one, other):
    def measure(run):
        a, b = one(run), other(run)
        return None if a is None or b is None else a - b

    return measure


def at_most(bound):
    return f"at most {bound:g}", lambda x: x <= bound + EXACT


def at_least(bound):
    return f"at least {bound:g}", lambda x: x >= bound - EXACT


def above(bound):
    return f"above {bound:g}", lambda x: x > bound + EXACT


ACCURACY = "accuracy"
CLAIMS = [  # what, how it is measured in one run, what must hold
    ("zero: accuracy before", start("zero", ACCURACY), at_most(0.35)),
    ("zero: accuracy after", end("zero", ACCURACY), at_least(0.75)),
    ("reasoning: accuracy minus that of zero", difference(end("reasoning", ACCURACY), end("zero", ACCURACY)), at_least(0)),
    ("reasoning: language", end("reasoning", "language"), at_least(0.95)),
    ("reasoning: language minus that of zero", difference(end("reasoning", "language"), end("zero", "language")), above(0)),
    ("reasoning: format", end("reasoning", "format"), at_least(0.98)),
    ("r1: preference gained", difference(end("r1", "preference"), start("r1", "preference")), above(0)),
    ("r1: safety gained", difference(end("r1", "safety"), start("r1", "safety")), above(0)),
    ("r1: accuracy lost since sft", difference(start("r1", ACCURACY), end("r1", ACCURACY)), at_most(0.03)),
    ("student: accuracy minus that of student_rl", difference(end("student", ACCURACY), end("student_rl", ACCURACY)), above(0)),
    ("student: accuracy minus that of student_answers", difference(end("student", ACCURACY), end("student_answers", ACCURACY)), above(0)),
]


def verdict(values, holds):
    """`ok` when it holds in every run; what is missing holds nowhere."""
    met = sum(v is not None and holds(v) for v in values)
    if met == len(values):
        return "ok", True
    known = [v for v in values if v is not None]
    words = f"NOT met: {met} of {len(values)} runs"
    if len(known) < len(values):
        words += f", {len(values) - len(known)} not measured"
    elif len(values) > 1 and holds(sum(known) / len(known)):
        words += ", the mean would do"
    return words, False


# ---- tables ---------------------------------------------------------------------------------------------------------------------------


def print_stages(runs):
    """One row per stage that was evaluated; two for a stage that was evaluated at its start too."""
    print(f"| stage | {' | '.join(KEYS)} |\n|---|{'---|' * len(KEYS)}")
    for stage in runs[0].stages:
        for when, label in (("eval_start", f"{stage}, before"), ("eval", stage)):
            if any(when in run.stages.get(stage, {}) for run in runs):
                print(f"| {label} | {' | '.join(spread([run.value(stage, key, when) for run in runs]) for key in KEYS)} |")
    seeds = ", ".join(str(run.seed) for run in runs)
    print(f"\n{len(runs)} run(s) of {runs[0].name}, seed {seeds}" + ("; mean [min–max]." if len(runs) > 1 else "."))
    for run in runs:
        if run.unfinished():
            print(f"{run.folder}: not finished: {', '.join(run.unfinished())}.")


def print_claims(runs):
    print("\n| claim | expected | measured | |\n|---|---|---|---|")
    good = True
    for what, measure, (expected, holds) in CLAIMS:
        values = [measure(run) for run in runs]
        words, ok = verdict(values, holds)
        good &= ok
        print(f"| {what} | {expected} | {spread(values)} | {words} |")
    return good


def print_calibration(runs):
    """Pass lines: A reward >= 0.9; B reward >= 0.75 and greedy held-out accuracy >= 0.85, all at the last step."""
    is_a = runs[0].name.startswith("calibration_a")
    reward_line = 0.9 if is_a else 0.75
    title = f"mean reward, at least {reward_line:g}"
    titles = [title] if is_a else [title, "greedy accuracy before", "greedy accuracy after, at least 0.85"]
    print(f"| {runs[0].name} | steps | {' | '.join(titles)} | |\n|---|---|{'---|' * len(titles)}---|")
    good = True
    for run in runs:
        reward, after = run.last_reward("grpo"), run.value("grpo", ACCURACY)
        ok = reward is not None and reward >= reward_line and (is_a or (after is not None and after >= 0.85))
        good &= ok
        cells = [spread([reward])] + ([] if is_a else [spread([start("grpo", ACCURACY)(run)]), spread([after])])
        print(f"| seed {run.seed} | {run.stages.get('grpo', {}).get('steps', '-')} | {' | '.join(cells)} | {'ok' if ok else 'NOT met'} |")
    return good


def print_recipe(runs):
    if runs[0].name.startswith("calibration_"):
        return print_calibration(runs)
    print_stages(runs)
    claimed = {"zero", "reasoning", "r1", "student", "student_rl", "student_answers"}
    return print_claims(runs) if claimed <= runs[0].stages.keys() else True


def main(folders):
    if not folders or folders[0].startswith("-"):
        print(__doc__.strip(), file=sys.stdout if folders else sys.stderr)
        return 0 if folders[:1] in (["-h"], ["--help"]) else 2
    recipes = {}
    for folder in folders:
        try:
            run = Run(folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"{folder}: expected a run folder with summary.json, found: {error}", file=sys.stderr)
            return 2
        recipes.setdefault(run.name, []).append(run)
    good = True
    for i, runs in enumerate(recipes.values()):
        if i > 0:
            print()
        good &= print_recipe(runs)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
