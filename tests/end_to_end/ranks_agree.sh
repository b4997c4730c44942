#!/usr/bin/env bash
# 1, 2 and 4 ranks, a sharded optimizer, sharded parameters, shared experts, recomputed layers, ranks that only roll out beside ranks that only train, and another micro-batch size: the
# same samples, metrics and weights of smoke's stages, to the bit. With answers one step old, and with partial rollouts: the same for every number of ranks, and other than without.
source "$(dirname "${BASH_SOURCE[0]}")/../support/end_to_end.sh"

shorter=(stages.base.steps=40 stages.zero.steps=10 stages.zero.algorithm.ref_update_interval=5)
run() { # NAME RANKS [key=value…]: two at a time, as ranks wait for one another; `finish` waits for all
  local name=$1 ranks=$2
  shift 2
  [ "$(jobs -rp | wc -l)" -lt 2 ] || wait -n || true
  { train "$ranks" "$work/$name" "${shorter[@]}" "$@" || echo "$name" >>"$work/unfinished"; } &
}
finish() {
  wait
  [ -e "$work/unfinished" ] || return 0
  while read -r name; do tail -5 "$work/$name.log" >&2; done <"$work/unfinished"
  fail "did not finish: $(paste -sd ' ' "$work/unfinished")"
}
run one 1
run two 2
run four 4
run zero1 2 trainer.optimizer_sharding=zero1
run zero1_again 4 trainer.optimizer_sharding=zero1 trainer.recompute=layer
run experts 4 cluster.expert_parallel_size=4 trainer.optimizer_sharding=zero1 trainer.recompute=layer
run parameters 4 cluster.expert_parallel_size=2 trainer.optimizer_sharding=zero1 trainer.parameter_sharding=full
run small 2 trainer.micro_batch_size=3
run split 2 cluster.placement=split cluster.rollout_ranks=1
run split_more 4 cluster.placement=split cluster.rollout_ranks=2 cluster.expert_parallel_size=2 trainer.optimizer_sharding=zero1 trainer.parameter_sharding=full
run stale 1 cluster.max_staleness=1
run stale_split 2 cluster.max_staleness=1 cluster.placement=split cluster.rollout_ranks=1
run stale_more 3 cluster.max_staleness=1 cluster.placement=split cluster.rollout_ranks=1
parts=(cluster.max_staleness=2)
for stage in zero r1; do
  parts+=("stages.$stage.rollout.partial_rollout_tokens=8" "stages.$stage.rollout.oversample=1.5")
done
run parts 1 "${parts[@]}"
run parts_split 3 "${parts[@]}" cluster.placement=split cluster.rollout_ranks=1
finish

steps=$(grep -c '"stage":"zero"' "$work/one/metrics.jsonl")
[ "$steps" -eq 10 ] || fail "expected 10 RL steps, found $steps"
agree() { # NAME OTHER TOLERANCE: of metrics; samples and weights to the bit
  local one=$1 other=$2
  for stage in zero reasoning r1; do
    cmp "$work/$one/samples/$stage.jsonl" "$work/$other/samples/$stage.jsonl" || fail "$other: samples of $stage differ"
  done
  for stage in base zero sft r1 student; do
    cmp "$work/$one/stages/$stage/model/model.safetensors" "$work/$other/stages/$stage/model/model.safetensors" || fail "$other: weights of $stage differ"
  done
  python3 "$source_dir/tests/end_to_end/compare_metrics.py" "$work/$one/metrics.jsonl" "$work/$other/metrics.jsonl" "$3"
}
for other in two four zero1 zero1_again experts parameters split split_more; do agree one "$other" 0; done
agree one small 1e-6
agree stale stale_split 0
agree stale stale_more 0
agree parts parts_split 0
grep -q '"policy_versions"' "$work/parts/samples/zero.jsonl" || fail "no answer was interrupted"
cmp -s "$work/one/samples/zero.jsonl" "$work/stale/samples/zero.jsonl" && fail "answers one step old made no difference"
grep -q '"staleness/mean":1' "$work/stale_split/metrics.jsonl" || fail "no staleness in the metrics"
python3 "$source_dir/tests/end_to_end/compare_metrics.py" --logprobs "$work/one/metrics.jsonl"
echo "1, 2 and 4 ranks, split and not, a sharded optimizer, sharded parameters, shared experts, recomputed layers and micro-batches of 3 agree; so do 1, 2 and 3 ranks with answers one step old, and 1 and 3 with partial rollouts"
