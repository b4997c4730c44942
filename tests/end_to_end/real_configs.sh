#!/usr/bin/env bash
# The recipes for real models: `cohort check` finds nothing, and `cohort plan` plans them at the size that each is made for. Needs COHORT_DATA, whose
# published config.json files and tokenizers stand in the models' folders; the weights are files of the right size without blocks, which neither command
# reads.
source "$(dirname "${BASH_SOURCE[0]}")/../support/end_to_end.sh"

if [ -z "${COHORT_DATA:-}" ]; then
  echo "skipped: COHORT_DATA names no folder with real data"
  exit 77
fi
COHORT_DATA=$(cd "$COHORT_DATA" && pwd)
export COHORT_DATA
for needed in configs/{deepseek-v3,qwen2.5-0.5b,qwen2.5-1.5b,qwen3-30b-a3b}.json tokenizers/{qwen2.5,qwen3,deepseek_r1} gsm8k math math500 aime24; do
  [ -e "$COHORT_DATA/$needed" ] || { echo "skipped: no $needed in $COHORT_DATA (tests/README.md, real data)"; exit 77; }
done

model() { # FOLDER CONFIG TOKENIZER NUMBERS
  local folder=$work/models/$1 tokenizer=$COHORT_DATA/tokenizers/$3
  mkdir -p "$folder"
  cp "$COHORT_DATA/configs/$2.json" "$folder/config.json"
  cp "$tokenizer/tokenizer_config.json" "$folder"
  if [ -f "$tokenizer/tokenizer.json" ]; then cp "$tokenizer/tokenizer.json" "$folder"; else gunzip -c "$tokenizer/tokenizer.json.gz" >"$folder/tokenizer.json"; fi
  python3 - "$folder/model.safetensors" "$4" <<'PYTHON'
import json, sys

path, numbers = sys.argv[1], int(float(sys.argv[2]))
header = json.dumps({"stand_in": {"dtype": "BF16", "shape": [numbers], "data_offsets": [0, 2 * numbers]}}).encode()
with open(path, "wb") as file:
    file.write(len(header).to_bytes(8, "little") + header)
    file.truncate(8 + len(header) + 2 * numbers)
PYTHON
}

model Qwen2.5-0.5B-Instruct qwen2.5-0.5b qwen2.5 5e8
model Qwen2.5-1.5B qwen2.5-1.5b qwen2.5 1.6e9
model Qwen2.5-Math-1.5B qwen2.5-1.5b qwen2.5 1.6e9
model Qwen3-30B-A3B-Base qwen3-30b-a3b qwen3 3.1e10
model DeepSeek-V3-Base deepseek-v3 deepseek_r1 6.8e11
model smollm2_135m qwen2.5-0.5b qwen2.5 5e8  # another model, and as good for this

cd "$work"
try() { # CONFIG RANKS [option of plan…]
  local config=$source_dir/configs/$1.yaml ranks=$2
  shift 2
  "$build/cohort" check "$config" --ranks "$ranks" || fail "check $config"
  "$build/cohort" plan "$config" --ranks "$ranks" "$@" >"$work/plan.txt" || fail "plan $config"
  grep -q "memory" "$work/plan.txt" || fail "no memory in the plan of $config"
}
try smollm2_135m 2
try gsm8k_qwen2.5_0.5b 2
try r1_zero_qwen2.5_1.5b 1 --gpu-memory 80GB
try distill_qwen2.5_1.5b 1 --gpu-memory 80GB
try r1_qwen3_30b_a3b 32 --gpu-memory 80GB
try r1_deepseek_v3 512 --gpu-memory 80GB

# A model that is not there is named, with the key.
rm -r models/Qwen2.5-0.5B-Instruct
code=0
"$build/cohort" check "$source_dir/configs/gsm8k_qwen2.5_0.5b.yaml" >"$work/out.txt" 2>&1 || code=$?
[ "$code" -eq 2 ] || fail "expected exit code 2 for a missing model, found $code"
grep -q "gsm8k_qwen2.5_0.5b.yaml:[0-9]*: model.path: expected" "$work/out.txt" || { cat "$work/out.txt"; fail "a missing model is not named"; }
echo "passed"
