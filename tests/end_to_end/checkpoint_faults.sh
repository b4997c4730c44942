#!/usr/bin/env bash
# Faults of storage while a run saves, injected into its system calls by strace: a full disk, a failing one, writes cut short, fsync that
# fails, and SIGKILL in the middle of a commit. Training goes on, a later save succeeds, and what can be loaded is step N or N-1. Damaged
# shards and what `cohort checkpoint` says of them; a save in one layout, loaded in another.
source "$(dirname "${BASH_SOURCE[0]}")/../support/end_to_end.sh"
config=$source_dir/tests/support/mini.yaml
command -v strace >/dev/null || { echo "skipped: strace is not installed (scripts/setup.sh installs it)"; exit 0; }
strace -f --seccomp-bpf -o /dev/null true 2>/dev/null || { echo "skipped: this machine does not let processes be traced"; exit 0; }
short=(stages.rl.steps=20 run.samples_per_step=0)

newest_of() { # RUN: the number of the newest step that verifies
  local folder
  for folder in $(printf '%s\n' "$work/$1"/checkpoints/rl/step_* | grep -E 'step_[0-9]+$' | sort -rV); do
    if "$build/cohort" checkpoint "$folder" >/dev/null 2>&1; then echo "${folder##*_}" && return; fi
  done
}
hash_of() { sha256sum "$work/$1/stages/rl/model/model.safetensors" | cut -d' ' -f1; }
same_as_alone() { [ "$(hash_of "$1")" = "$(hash_of alone)" ] || fail "$1: other weights than the undisturbed run"; }

"$build/cohort" train "$config" run.output="$work/alone" "${short[@]}" >"$work/alone.log" 2>&1 || fail 'the undisturbed run'

# ---- killed at every system call of a commit ----
"$build/cohort_tests" 'a save that is killed at any system call*' >"$work/kills.log" 2>&1 || { tail -20 "$work/kills.log"; fail 'kills'; }
grep -E 'killed at each|skipped' "$work/kills.log"

# ---- errors of the disk in a run of its own, at step 10 of stage rl; saves are due at steps 5, 10 and 15 ----
inject() { # WORDS FAULT PATH… : of a run; the save of step 10 must fail with the words, those after it succeed
  local words=$1 fault=$2 run=run_$((++runs)) paths=() path
  shift 2
  for path in "$@"; do paths+=(-P "$work/$run/checkpoints/rl/$path"); done
  strace -f --seccomp-bpf -qq -o /dev/null -e "trace=${fault%%:*}" -e "inject=$fault" "${paths[@]}" \
    "$build/cohort" train "$config" run.output="$work/$run" "${short[@]}" >"$work/$run.log" 2>&1 || { tail -5 "$work/$run.log"; fail "$fault: the run did not go on"; }
  grep -qE "no checkpoint was saved: step 10, rank 0: .*$words.*; training goes on" "$work/$run.log" || { cat "$work/$run.log"; fail "$fault: expected \"$words\""; }
  [ "$(grep -c 'no checkpoint was saved' "$work/$run.log")" -eq 1 ] || fail "$fault: more than one save failed"
  same_as_alone "$run"
  printf '%-42s %s\n' "$fault" "$(grep -oE 'no checkpoint was saved: [^;]*' "$work/$run.log" | sed "s#$work/##g" | cut -c1-110)"
}
runs=0
inject 'write failed: No space left' write:error=ENOSPC step_10.tmp/shard_0_of_1.bin
inject 'write failed: No space left' write:error=ENOSPC step_10.tmp/manifest.json
inject 'write failed: Input/output' write:error=EIO step_10.tmp/shard_0_of_1.bin
inject 'write failed: Input/output' write:retval=0 step_10.tmp/shard_0_of_1.bin
inject 'fsync failed: Input/output' fsync:error=EIO step_10.tmp/shard_0_of_1.bin
inject 'fsync failed: Input/output' fsync:error=EIO step_10.tmp
inject 'rename failed: Input/output' rename:error=EIO step_10.tmp
inject 'create failed: No space left' openat:error=ENOSPC step_10.tmp/shard_0_of_1.bin
inject 'folder failed: No space left' mkdir:error=ENOSPC step_10.tmp
echo "$runs runs with a save that failed: the next save and the weights as if nothing had happened"

# ---- killed inside a save of the same run ----
kills=0
while read -r call path when; do
  run=killed_$((++kills)) code=0
  # Not with --seccomp-bpf, which loses the signal.
  {
    strace -f -qq -o /dev/null -e "trace=$call" -e "inject=$call:signal=KILL:when=$when" -P "$work/$run/checkpoints/rl/$path" \
      "$build/cohort" train "$config" run.output="$work/$run" "${short[@]}" >"$work/$run.log" 2>&1 || code=$?
  } 2>/dev/null # bash would say that it was killed
  [ "$code" -eq 137 ] || fail "SIGKILL at $call of $path: exit code $code"
  newest=$(newest_of "$run")
  case ${newest:-none} in 5 | 10) ;; *) fail "SIGKILL at $call of $path: the newest loadable step is ${newest:-none}" ;; esac
  "$build/cohort" train "$config" run.output="$work/$run" "${short[@]}" >>"$work/$run.log" 2>&1 || fail "$call of $path: the run did not go on"
  grep -q "rl: going on from step $newest of" "$work/$run.log" || fail "$call of $path: expected to go on from step $newest"
  same_as_alone "$run"
  printf '%-42s step %s was the newest\n' "SIGKILL at $call of $path" "$newest"
done <<'END'
openat step_10.tmp/shard_0_of_1.bin 1
write step_10.tmp/shard_0_of_1.bin 1
write step_10.tmp/shard_0_of_1.bin 50
fsync step_10.tmp/shard_0_of_1.bin 1
write step_10.tmp/manifest.json 1
fsync step_10.tmp/manifest.xxh3 1
fsync step_10.tmp 1
rename step_10.tmp 1
unlinkat step_0 1
END

# ---- damage that is named ----
mpirun -n 2 "$build/cohort" train "$config" run.output="$work/two" "${short[@]}" trainer.optimizer_sharding=zero1 run.walltime_s=1 run.walltime_margin_s=1 >"$work/two.log" 2>&1 && fail 'a run with a walltime of 1 s ended'
newest=$(printf '%s\n' "$work"/two/checkpoints/*/step_* | sort -V | tail -1)
"$build/cohort" checkpoint "$newest" | sed -n 1,2p
[ "$(ls "$newest")" = "$(printf '%s\n' manifest.json manifest.xxh3 shard_0_of_2.bin shard_1_of_2.bin)" ] || fail "$newest: other files"
damaged() { # WORDS COMMAND…: of a copy in $work/copy
  local words=$1 code=0
  shift
  rm -rf "$work/copy"
  cp -r "$newest" "$work/copy"
  "$@"
  "$build/cohort" checkpoint "$work/copy" >"$work/copy.log" 2>&1 || code=$?
  [ "$code" -eq 2 ] || fail "$*: expected exit code 2, found $code"
  grep -qE "$words" "$work/copy.log" || { cat "$work/copy.log"; fail "$*: expected \"$words\""; }
}
damaged 'shard_1_of_2.bin: expected [0-9]+ bytes' truncate -s -1 "$work/copy/shard_1_of_2.bin"
damaged 'shard_1_of_2.bin: expected a readable file' rm "$work/copy/shard_1_of_2.bin"
damaged 'found "shard_2_of_3.bin"' touch "$work/copy/shard_2_of_3.bin"
damaged 'manifest.json: expected hash' sed -i 's/stage/stagf/' "$work/copy/manifest.json"
damaged 'found: a symbolic link' ln -sf /dev/null "$work/copy/shard_0_of_2.bin"

# ---- another layout ----
"$build/cohort" train "$config" run.output="$work/two" "${short[@]}" >>"$work/two.log" 2>&1 || { tail -3 "$work/two.log"; fail 'two ranks saved, one did not go on'; }
same_as_alone two
echo 'saved by two ranks with zero1, finished by one: the weights of the undisturbed run'
