#!/usr/bin/env bash
# Killed with SIGKILL at random moments (KILLS, default 4; the release check uses 20) and started again, the run ends with the same bytes as one
# left alone. SIGTERM and SIGUSR1 save and exit 75.
source "$(dirname "${BASH_SOURCE[0]}")/../support/end_to_end.sh"
kills=${KILLS:-4}
small=("stages.base.steps=30" "stages.zero.steps=10" "trainer.save_freq=3")

start=$(date +%s%N)
train 2 "$work/alone" "${small[@]}" || { tail -5 "$work/alone.log"; fail "the undisturbed run did not finish"; }
milliseconds=$((($(date +%s%N) - start) / 1000000))

RANDOM=${SEED:-17}
export RANDOM
killed=0
while [ "$killed" -lt "$kills" ]; do
  setsid mpirun -n 2 "$build/cohort" train "$source_dir/configs/smoke.yaml" run.output="$work/killed" "${small[@]}" >>"$work/killed.log" 2>&1 &
  pid=$!
  # A moment in the part of the run that is still ahead, so that all kinds of moments are hit.
  pause=$((milliseconds * (RANDOM % 900 + 100) / 1000 / kills + 900))
  sleep "$(printf '%d.%03d' $((pause / 1000)) $((pause % 1000)))"
  if kill -0 "$pid" 2>/dev/null; then
    kill -KILL -- "-$pid" 2>/dev/null || true
    killed=$((killed + 1))
  else
    rm -rf "$work/killed" # it got to the end: another run to be killed
  fi
  wait "$pid" 2>/dev/null || true
  pkill -KILL -f "run.output=$work/killed" 2>/dev/null || true
done
train 2 "$work/killed" "${small[@]}" || { tail -5 "$work/killed.log"; fail "the run did not finish after $kills kills"; }
for stage in base zero cold_start reasoning sft preference r1 student; do
  cmp "$work/alone/stages/$stage/model/model.safetensors" "$work/killed/stages/$stage/model/model.safetensors" || fail "weights of $stage differ after $kills kills"
done
for stage in zero reasoning r1; do
  cmp "$work/alone/samples/$stage.jsonl" "$work/killed/samples/$stage.jsonl" || fail "samples of $stage differ after $kills kills"
done
python3 "$source_dir/tests/end_to_end/compare_metrics.py" "$work/alone/metrics.jsonl" "$work/killed/metrics.jsonl" 0

for signal in TERM USR1; do
  "$build/cohort" train "$source_dir/configs/smoke.yaml" run.output="$work/$signal" "${small[@]}" >"$work/$signal.log" 2>&1 &
  pid=$!
  for _ in $(seq 200); do
    [ -s "$work/$signal/metrics.jsonl" ] && break
    sleep 0.1
  done
  kill "-$signal" "$pid"
  code=0
  wait "$pid" || code=$?
  [ "$code" -eq 75 ] || { tail -3 "$work/$signal.log"; fail "SIG$signal: expected exit code 75, found $code"; }
  [ -n "$(ls "$work/$signal/checkpoints" 2>/dev/null)" ] || fail "SIG$signal: no checkpoint"
done
echo "$kills kills: same bytes; SIGTERM and SIGUSR1: saved, exit 75"
