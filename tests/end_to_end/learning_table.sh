#!/usr/bin/env bash
# scripts/learning_table.py: what it says of made-up runs that hold every claim, and of the same with one number out of bounds.
source "$(dirname "${BASH_SOURCE[0]}")/../support/end_to_end.sh"

make_run() { # FOLDER SEED [stage.when.key=value…]: a run in which every claim holds, with these numbers in place of its own
  python3 - "$@" <<'PYTHON'
import json, pathlib, sys

def numbers(**values):
    return {"accuracy": 0.8, "format": 0.99, "language": 0.97, "safety": 0.7, **values}

stages = {
    "base": {"eval": numbers(accuracy=0.3)},
    "zero": {"eval_start": numbers(accuracy=0.35), "eval": numbers(language=0.6)},
    "reasoning": {"eval_start": numbers(), "eval": numbers()},
    "curated": {},
    "r1": {"eval_start": numbers(preference=0.4), "eval": numbers(accuracy=0.77, safety=0.9, preference=0.6)},
    "student": {"eval": numbers(accuracy=0.5)},
    "student_rl": {"eval_start": numbers(accuracy=0.1), "eval": numbers(accuracy=0.2)},
    "student_answers": {"eval": numbers(accuracy=0.2)},
}
for change in sys.argv[3:]:
    place, value = change.split("=")
    stage, when, key = place.split(".")
    stages[stage][when][key] = float(value)
folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True)
listed = [{"name": name, "type": "rl", "status": "done", **stage} for name, stage in stages.items()]
(folder / "summary.json").write_text(json.dumps({"name": "r1_mini", "seed": int(sys.argv[2]), "stages": listed}))
PYTHON
}

make_calibration() { # FOLDER NAME REWARD ACCURACY
  mkdir -p "$1"
  echo '{"name": "'"$2"'", "seed": 0, "stages": [{"name": "grpo", "type": "rl", "status": "done", "steps": 100, "eval_start": {"accuracy": 0.2},
    "eval": {"accuracy": '"$4"'}}]}' >"$1/summary.json"
  printf '%s\n' '{"stage": "grpo", "step": 99, "reward/mean": 0.0}' '{"stage": "grpo", "step": 100, "reward/mean": '"$3"'}' \
    '{"stage": "other", "step": 100, "reward/mean": 0.0}' >"$1/metrics.jsonl"
}

table() { # EXPECTED_CODE FOLDER…: prints the table
  local expected=$1 code=0
  shift
  python3 "$source_dir/scripts/learning_table.py" "$@" >"$work/table" 2>&1 || code=$?
  [ "$code" -eq "$expected" ] || { cat "$work/table"; fail "expected exit code $expected, found $code"; }
}

expect() { grep -qF -- "$1" "$work/table" || { cat "$work/table"; fail "expected the table to say: $1"; }; }

make_run "$work/good17" 17
make_run "$work/good18" 18 zero.eval.accuracy=0.79 reasoning.eval.language=0.95
table 0 "$work/good17" "$work/good18"
expect '| zero, before | 0.350 [0.350–0.350] | 0.990 [0.990–0.990] |'
expect '| zero | 0.795 [0.790–0.800] | 0.990 [0.990–0.990] |'
expect '| r1: accuracy lost since sft | at most 0.03 | 0.030 [0.030–0.030] | ok |'
[ "$(grep -c '| ok |$' "$work/table")" -eq 11 ] || fail "expected 11 claims that hold"

# Each claim can fail, and only that one.
number=0
for change in zero.eval_start.accuracy=0.36 zero.eval.accuracy=0.74 reasoning.eval.accuracy=0.79 reasoning.eval.language=0.94 zero.eval.language=0.97 \
  reasoning.eval.format=0.97 r1.eval.preference=0.4 r1.eval.safety=0.7 r1.eval.accuracy=0.76 student_rl.eval.accuracy=0.5 student_answers.eval.accuracy=0.5; do
  number=$((number + 1))
  make_run "$work/bad$number" 19 "$change"
  table 1 "$work/bad$number"
  [ "$(grep -c 'NOT met' "$work/table")" -eq 1 ] || { cat "$work/table"; fail "$change: expected one claim that does not hold"; }
done
table 1 "$work/good17" "$work/bad2"
expect 'NOT met: 1 of 2 runs, the mean would do'

make_calibration "$work/a" calibration_a 0.9 0.0
make_calibration "$work/b" calibration_b 0.8 0.85
table 0 "$work/a" "$work/b"
expect '| seed 0 | 100 | 0.800 | 0.200 | 0.850 | ok |'
make_calibration "$work/a_bad" calibration_a 0.89 1.0
make_calibration "$work/b_bad" calibration_b_16 0.8 0.84
table 1 "$work/a_bad"
table 1 "$work/b_bad"
table 2 "$work/nothing"
echo "learning_table: claims hold and fail as they should"
