#!/usr/bin/env bash
# 1, 2 and 4 ranks, a sharded optimizer, recomputed layers and another micro-batch size: the same samples, metrics and weights of the first 20 RL steps of smoke, to the bit.
source "$(dirname "${BASH_SOURCE[0]}")/../support/end_to_end.sh"

first_stages=("stages.base.steps=60")
run() { # NAME RANKS [key=value…]
  local name=$1 ranks=$2
  shift 2
  train "$ranks" "$work/$name" "${first_stages[@]}" "$@" || { tail -5 "$work/$name.log"; fail "$name did not finish"; }
}
run one 1
run two 2
run four 4
run zero1 2 trainer.optimizer_sharding=zero1
run zero1_again 4 trainer.optimizer_sharding=zero1 trainer.recompute=layer
run small 2 trainer.micro_batch_size=3

steps=$(grep -c '"stage":"zero"' "$work/one/metrics.jsonl")
[ "$steps" -eq 20 ] || fail "expected 20 RL steps, found $steps"
for other in two four zero1 zero1_again small; do
  for stage in zero reasoning r1; do
    cmp "$work/one/samples/$stage.jsonl" "$work/$other/samples/$stage.jsonl" || fail "$other: samples of $stage differ"
  done
  for stage in base zero sft r1 student; do
    cmp "$work/one/stages/$stage/model/model.safetensors" "$work/$other/stages/$stage/model/model.safetensors" || fail "$other: weights of $stage differ"
  done
  python3 "$source_dir/tests/end_to_end/compare_metrics.py" "$work/one/metrics.jsonl" "$work/$other/metrics.jsonl" "$([ "$other" = small ] && echo 1e-6 || echo 0)"
done
python3 "$source_dir/tests/end_to_end/compare_metrics.py" --logprobs "$work/one/metrics.jsonl"
echo "1, 2 and 4 ranks, a sharded optimizer, recomputed layers and micro-batches of 3 agree"
