#!/usr/bin/env bash
# Faults on purpose: killed and stopped ranks, a lost launcher, signals, two jobs, full and read-only disks, damaged checkpoints, numbers that
# are not finite, a rank without memory, the walltime, a supervisor that gives up. Each has an expected exit code and message; the table shows
# the seconds from the fault to the end of the run. No process may be left behind. FAULTS=all runs the slow ones too.
source "$(dirname "${BASH_SOURCE[0]}")/../support/end_to_end.sh"
config=$source_dir/tests/support/mini.yaml
supervise=$source_dir/scripts/supervise.sh
export COHORT=$build/cohort
command -v pgrep >/dev/null || fail 'pgrep (package procps) is missing: nothing could be said about processes that are left'
mounts=()
# shellcheck disable=SC2317  # called by the trap
clean_up() {
  for folder in "${mounts[@]}"; do umount --lazy "$folder"; done
  rm -rf "$work"
}
trap clean_up EXIT
everything() { [ "${FAULTS:-}" = all ]; }
long=(stages.rl.steps=100000)

# ---- running ----
now() { date +%s%N; }
begin() { # NAME RANKS [key=value…]: in the background; sets pid
  name=$1 log=$work/${1//\//_}.log
  local ranks=$2
  shift 2
  mpirun -n "$ranks" "$build/cohort" train "$config" run.output="$work/$name" "$@" >>"$log" 2>&1 &
  pid=$!
  fault_at=$(now)
}
await_steps() { # NAME STEPS: until the RL stage has written so many lines
  for _ in $(seq 600); do
    if [ "$(cat "$work/$1/metrics.jsonl" 2>/dev/null | grep -c '"stage":"rl"')" -ge "$2" ]; then
      fault_at=$(now)
      return
    fi
    sleep 0.05
  done
  tail -5 "$work/$1.log" >&2
  fail "$1: step $2 was not reached"
}
rank_of() { # NAME RANK: its pid
  local p
  for p in $(pgrep -f "run.output=$work/$1( |$)"); do
    if tr '\0' '\n' <"/proc/$p/environ" 2>/dev/null | grep -qx "OMPI_COMM_WORLD_RANK=$2"; then echo "$p" && return; fi
  done
  fail "$1: no rank $2"
}
finish() { # waits for the run and all its processes; sets code, took and left
  code=0
  { wait "$pid" || code=$?; } 2>/dev/null
  for _ in $(seq 300); do
    left=$(pgrep -f "run.output=$work/$name( |\$)" || true)
    [ -z "$left" ] && break
    sleep 0.1
  done
  took=$(($(now) - fault_at))
}
run() { # NAME RANKS [key=value…]: to the end
  begin "$@"
  finish
}
hash_of() { sha256sum "$work/$1/stages/rl/model/model.safetensors" | cut -d' ' -f1; }

# ---- judging ----
rows=0
expect() { # FAULT EXPECTED_CODE PATTERN [MOST_SECONDS]: of the run that just ended
  local fault=$1 expected=$2 pattern=$3 most=${4:-30}
  local seconds
  seconds=$(printf '%d.%02d' $((took / 1000000000)) $((took / 10000000 % 100)))
  [ "$code" -eq "$expected" ] || { tail -8 "$log" >&2; fail "$fault: expected exit code $expected, found $code"; }
  grep -qE -- "$pattern" "$log" || { tail -8 "$log" >&2; fail "$fault: expected the message \"$pattern\""; }
  [ "$took" -le $((most * 1000000000)) ] || fail "$fault: expected an end within $most s, found $seconds s"
  [ -z "$left" ] || fail "$fault: processes are left: $left"
  rows=$((rows + 1))
  printf '%-46s %4d %8s  %s\n' "$fault" "$code" "$seconds" "$(grep -oE -- "$pattern" "$log" | tail -1 | cut -c1-90)"
}
printf '%-46s %4s %8s  %s\n' fault exit seconds message

# ---- the run that the others are compared with ----
run alone 2
[ "$code" -eq 0 ] || { tail -5 "$log" >&2; fail "the undisturbed run"; }
same_as_alone() { [ "$(hash_of "$1")" = "$(hash_of alone)" ] || fail "$1: other weights than the undisturbed run"; }

# ---- processes ----
for rank in 0 1; do # the coordinator, and a rank that rolls out and trains
  begin "killed$rank" 2 "${long[@]}"
  await_steps "killed$rank" 3
  kill -KILL "$(rank_of "killed$rank" $rank)"
  finish
  expect "SIGKILL of rank $rank" 137 'exited on signal 9'
done

begin stopped 2 "${long[@]}" cluster.deadline_s=3
await_steps stopped 3
kill -STOP "$(rank_of stopped 1)"
finish
expect 'SIGSTOP of rank 1, cluster.deadline_s=3' 1 'nothing moved for 3 s, waiting for rank 1 \(host [^)]*\)'

begin paused 2 cluster.deadline_s=30
await_steps paused 3
paused=$(rank_of paused 1)
kill -STOP "$paused"
sleep 2
kill -CONT "$paused"
finish
expect 'SIGSTOP for 2 s, then SIGCONT' 0 '^rl ' 60
same_as_alone paused

# The timeout is shorter than the 25 s that it is by default; FAULTS=all takes those too (from the stop to the end 26.8 s).
lost() { echo "lost: rank $1 \(host [^,]*, pid [0-9]+\) was last heard [0-9]+\.[0-9] s ago, last known at stage [a-z]+, [0-9]+ steps done"; }
silent() { # NAME RANKS RANK SECONDS: the rank is stopped; SECONDS is cluster.heartbeat_timeout_s
  begin "$1" "$2" "${long[@]}" "cluster.heartbeat_timeout_s=$4"
  await_steps "$1" 3
  kill -STOP "$(rank_of "$1" "$3")"
  finish
  expect "SIGSTOP of rank $3, timeout $4 s" 1 "$(lost "$3")" 60
  [ "$took" -ge $(($4 * 1000000000 - 2000000000)) ] || fail "$1: ended before its time" # the last beat is up to 2 s old
}
silent silent1 2 1 8
if everything; then
  silent long1 2 1 25
  silent long0 4 0 25
  [ "$(grep -cE "rank [123] .*$(lost 0)" "$log")" -eq 3 ] || fail 'long0: not every other rank named rank 0'
fi

frozen() { # NAME SECONDS TIMEOUT: rank 1 is stopped for more than half of the timeout
  begin "$1" 2 "${many[@]}" "cluster.heartbeat_timeout_s=$3"
  await_steps "$1" 3
  paused=$(rank_of "$1" 1)
  kill -STOP "$paused"
  sleep "$2"
  kill -CONT "$paused"
  finish
  expect "SIGSTOP for $2 s, then SIGCONT, timeout $3 s" 0 'rank 1 \(host [^)]*\) is back after [0-9]+\.[0-9] s of silence' 120
  grep -q 'warning straggler: rank 1 ' "$log" || fail "$1: no warning of a straggler"
  [ "$(hash_of "$1")" = "$(hash_of many_steps)" ] || fail "$1: other weights than the undisturbed run"
  cmp "$work/many_steps/samples/rl.jsonl" "$work/$1/samples/rl.jsonl" || fail "$1: other samples than the undisturbed run"
}
many=(stages.rl.steps=700) # not over before the signal is sent, nor before rank 0 has heard of the end of the pause (seconds)
run many_steps 2 "${many[@]}"
[ "$code" -eq 0 ] || { tail -5 "$log" >&2; fail "the undisturbed run of many steps"; }
frozen frozen 8 12
everything && frozen long_frozen 20 25

begin memory 2 stages.warm.epochs=20 stages.rl.train_batch_size=8192 stages.rl.ppo_mini_batch_size=8192
for _ in $(seq 600); do grep -q warm "$work/memory/metrics.jsonl" 2>/dev/null && break; sleep 0.05; done
starved=$(rank_of memory 1)
prlimit --pid "$starved" --as=$(($(awk '/^VmSize/ {print $2}' "/proc/$starved/status") * 1024))
for _ in $(seq 1800); do grep -q 'out of memory' "$log" && break; sleep 0.05; done
fault_at=$(now)
finish
expect 'rank 1 gets no more memory' 1 'rank 1 error (rank 1: out of memory|out of memory: ([0-9]+ bytes|an allocation of unknown size))'  # in a save; elsewhere

begin launcher 2 "${long[@]}"
await_steps launcher 3
kill -KILL "$pid"
finish
expect 'SIGKILL of mpirun' 137 'stage rl'

if everything; then
  name=three log=$work/three.log fault_at=$(now)
  mpirun -n 1 "$build/cohort" train "$config" run.output="$work/three" : -n 1 sh -c 'exit 3' >"$log" 2>&1 &
  pid=$!
  finish
  expect 'a rank exits with code 3' 3 'non-zero exit code'
fi

for signal in USR1 TERM; do
  name=$signal log=$work/$signal.log
  "$build/cohort" train "$config" run.output="$work/$signal" "${long[@]}" >"$log" 2>&1 &
  pid=$!
  await_steps "$signal" 3
  kill "-$signal" "$pid"
  finish
  expect "SIG$signal" 75 "stopped after step [0-9]+, saved \(SIG$signal\)"
done

begin usr1 2 "${long[@]}"
await_steps usr1 3
kill -USR1 "$pid"
finish
expect 'SIGUSR1 to mpirun' 75 'stopped after step [0-9]+, saved'

begin twice 2 "${long[@]}" stages.rl.train_batch_size=4096 stages.rl.ppo_mini_batch_size=4096 # a step takes seconds
for _ in $(seq 300); do grep -q 'stage rl' "$log" && break; sleep 0.1; done
sleep 1
fault_at=$(now)
kill -USR1 "$pid"
sleep 0.3
kill -USR1 "$pid"
finish
expect 'SIGUSR1 twice, in a long step' 75 'stage rl' 5

begin walltime 2 "${long[@]}" run.walltime_s=4 run.walltime_margin_s=3
finish
expect 'run.walltime_s=4, margin 3 s' 75 'saved \(walltime\)' 12
if everything; then
  SLURM_JOB_END_TIME=$(($(date +%s) + 10)) run slurm_end 2 "${long[@]}" run.walltime_margin_s=5
  expect 'SLURM_JOB_END_TIME in 10 s, margin 5 s' 75 'saved \(walltime\)' 10
fi

begin two 2 "${long[@]}"
await_steps two 1
holder=$pid
first_lines=$(wc -l <"$work/two/log/rank-0.log")
log=$work/second.log fault_at=$(now)
mpirun -n 2 "$build/cohort" train "$config" run.output="$work/two" >"$log" 2>&1 &
pid=$! name=second # the folder's first job goes on
finish
second=$code took_second=$took
grep -q 'rank 0: coordinator' <(tail -n +"$((first_lines + 1))" "$work/two/log/rank-0.log") && fail 'the second job wrote into the log of the first'
kill -USR1 "$holder"
pid=$holder name=two
finish
code=$second took=$took_second
expect 'a second job in one run folder' 2 'found it held by [^ ]* pid [0-9]+'
run two 2 stages.rl.steps=100000 run.walltime_s=4 run.walltime_margin_s=1
expect '… and when the first has ended' 75 'going on from step'

# ---- numbers ----
run nan 2 stages.warm.optim.lr=1000 stages.warm.optim.weight_decay=1000 stages.warm.optim.clip_grad=0
expect 'numbers that are not finite' 1 '3 optimizer steps in a row'
log=$work/replay.log fault_at=$(now)
"$build/cohort" replay "$work/nan/bad_batches/warm_step_4.pb" >"$log" 2>&1 &
pid=$!
finish
expect 'cohort replay' 0 '[1-9][0-9]* of 16 samples are not finite'

# ---- storage ----
begin damaged 2 trainer.save_freq=1
await_steps damaged 10
kill -KILL "$(rank_of damaged 0)"
finish
damage() { # WORDS PATTERN COMMAND…: of a copy of a run with two checkpoints; the run must end as if nothing had happened
  local words=$1 pattern=$2
  shift 2
  rm -rf "$work/copy"
  cp -r "$work/damaged" "$work/copy"
  newest=$(printf '%s\n' "$work"/copy/checkpoints/*/step_* | grep -v '\.tmp' | sort -V | tail -1)  # the kill may have left a half-written one
  "$@"
  : >"$work/copy.log"
  run copy 2
  expect "$words" 0 "$pattern" 60
  same_as_alone copy
}
shorten() { truncate -s -7 "$newest/shard_1_of_2.bin"; }
lose() { rm "$newest/shard_1_of_2.bin"; }
add() { touch "$newest/shard_2_of_3.bin"; }
garble() { head -c 20 /dev/urandom >"$newest/../LATEST"; }
misname() { echo step_999 >"$newest/../LATEST"; }
flip() { # a byte that was not that already
  local byte='\377'
  [ "$(od -An -tx1 -j 4096 -N 1 "$newest/shard_0_of_2.bin")" != ' ff' ] || byte='\0'
  printf "$byte" | dd of="$newest/shard_0_of_2.bin" bs=1 seek=4096 conv=notrunc status=none
}
damage 'a flipped byte in a checkpoint' 'skipped, .*expected hash' flip
everything && damage 'a truncated checkpoint' 'skipped, .*expected [0-9]+ bytes' shorten
damage 'a checkpoint without one of its shards' 'skipped, .*No such file' lose
everything && damage 'a checkpoint with a shard too many' 'skipped, .*expected only the files of its manifest' add
everything && damage 'LATEST is garbage' 'LATEST: expected step_N, found .*ignored' garble
damage 'LATEST names a step that is not there' 'LATEST: names step_999, which is not there; ignored' misname

mkdir "$work/link"
ln -s /dev/null "$work/link/lock"
run link 2
expect 'a link in place of the lock' 2 'found: a symbolic link'

if [ "$(id -u)" -eq 0 ] && mkdir "$work/small" && mount -t tmpfs -o size=300k tmpfs "$work/small" 2>/dev/null; then
  mounts+=("$work/small")
  mkdir "$work/small/run"
  name=small/run log=$work/full.log fault_at=$(now)
  mpirun -n 2 "$build/cohort" train "$config" run.output="$work/small/run" "${long[@]}" >"$log" 2>&1 &
  pid=$!
  finish
  expect 'a full disk' 1 'No space left on device'
  mount -o remount,size=64m "$work/small"
  begin small/run 2 stages.rl.steps=200 run.samples_per_step=0
  await_steps small/run 3
  leader=$(rank_of small/run 0)
  until [ -e "$work/small/filler" ]; do # not in the middle of a save; leaves room for lines, not for a checkpoint
    kill -STOP "$leader"
    if [ "$(find "$work/small/run/checkpoints/rl" -name 'step_*' -printf . -prune)" = .. ]; then
      head -c $((($(df --output=avail -k "$work/small" | tail -1) - 160) * 1024)) /dev/zero >"$work/small/filler"
    fi
    kill -CONT "$leader"
    sleep 0.05
  done
  for _ in $(seq 300); do grep -q 'training goes on' "$log" && break; sleep 0.1; done
  rm "$work/small/filler"
  finish
  expect 'a disk too full for checkpoints, for a while' 0 'no checkpoint was saved: [^;]*; training goes on' 60
  rm -rf "$work/small/run"
  run small/run 2
  expect '… and with room again' 0 '^rl ' 60
  same_as_alone small/run
  mount -o remount,ro "$work/small"
  log=$work/ro.log fault_at=$(now)
  mpirun -n 2 "$build/cohort" train "$config" run.output="$work/small/run" >"$log" 2>&1 &
  pid=$!
  finish
  expect 'a read-only run folder' 2 'found: Read-only file system'
else
  echo 'skipped: a full and a read-only disk need root and a tmpfs of their own'
fi

# ---- the supervisor ----
supervised() { # NAME M [key=value…]: in the background
  name=$1 log=$work/$1.log
  local most=$2
  shift 2
  "$supervise" -n 2 --max-restarts "$most" -- "$config" run.output="$work/$name" "$@" >>"$log" 2>&1 &
  pid=$!
  fault_at=$(now)
}
supervised again 2 stages.rl.steps=60
await_steps again 7
kill -KILL "$(rank_of again 1)"
await_steps again 30
kill -KILL "$(rank_of again 0)"
finish
expect 'supervise: two ranks killed, it goes on' 0 'restart 2 of 2: 1 of 2 stages done; next rl, from step [0-9]+' 60
same_as_alone again
cmp "$work/alone/samples/rl.jsonl" "$work/again/samples/rl.jsonl" || fail 'again: a group was lost, or sampled twice'

supervised same 5 stages.warm.optim.lr=1000 stages.warm.optim.weight_decay=1000 stages.warm.optim.clip_grad=0
finish
expect 'supervise: dies at the same step again' 1 'giving up: exit code 1, .* dies at the same step again' 60
if everything; then
  supervised input 5 stages.rl.n=x
  finish
  expect 'supervise: bad input' 2 'stages.rl.n'
fi
supervised signalled 5 "${long[@]}"
await_steps signalled 3
kill -TERM "$pid"
finish
expect 'supervise: SIGTERM' 75 'stopped after step [0-9]+, saved'
# Between two runs there is nobody to pass a request on to: a launcher whose runs fail at once, and that takes its time to ask for the status.
cat >"$work/slow_launcher" <<'END'
#!/usr/bin/env bash
case "$*" in *' status '*) sleep 2; echo "$$" ;; *) exit 1 ;; esac
END
chmod +x "$work/slow_launcher"
MPIRUN=$work/slow_launcher supervised between 5
sleep 1
kill -TERM "$pid"
finish
expect 'supervise: SIGTERM between two runs' 1 'exit code 1 after a request to stop'
supervised lost 5 "${long[@]}"
await_steps lost 3
kill -KILL "$pid"
finish
expect 'supervise: itself killed' 137 'stage rl'

if everything; then
  begin many 8 trainer.reduction_slots=8
  unset OMP_NUM_THREADS
  finish
  expect '8 ranks on any number of cores' 0 '^rl ' 300
fi
echo "$rows faults, each as expected; no process is left"
