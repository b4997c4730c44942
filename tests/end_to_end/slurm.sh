#!/usr/bin/env bash
# scripts/slurm/train.sbatch under a Slurm of one node, started here: signalled twice, requeued each time, and the final weights are those of an
# undisturbed run; with srun and with mpirun; cancelled; before the walltime; srun without PMIx. Skipped where Slurm is not installed, or not as
# root.
source "$(dirname "${BASH_SOURCE[0]}")/../support/end_to_end.sh"
for program in slurmctld slurmd munged sbatch; do
  PATH=$PATH:/usr/sbin command -v "$program" >/dev/null || { echo "skipped: no $program (Debian: apt-get install slurm-wlm munge)"; exit 0; }
done
[ "$(id -u)" -eq 0 ] || { echo 'skipped: slurmd needs root'; exit 0; }
PATH=$PATH:/usr/sbin
config=$source_dir/tests/support/mini.yaml
port=$((20000 + RANDOM % 20000))
chmod 755 "$work"
mkdir -m 755 "$work/run"

# ---- a cluster of one node ----
cat >"$work/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
AuthType=auth/munge
AuthInfo=socket=$work/run/munge.socket,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/run/slurmctld.pid
SlurmdPidFile=$work/run/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
ReturnToService=2
KillWait=30
SlurmdParameters=config_overrides
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF=$work/slurm.conf
# shellcheck disable=SC2317  # called by the trap
clean_up() {
  scancel --full --signal=KILL --user=root 2>/dev/null || true
  for daemon in slurmd slurmctld munged; do
    [ ! -f "$work/run/$daemon.pid" ] || kill "$(cat "$work/run/$daemon.pid")" 2>/dev/null || true
  done
  sleep 1
  pkill -KILL -f "run.output=$work/" || true
  rm -rf "$work"
}
trap clean_up EXIT
mkdir "$work/state" "$work/spool"
head -c 1024 /dev/urandom >"$work/munge.key"
chmod 400 "$work/munge.key"
munged --force --key-file="$work/munge.key" --socket="$work/run/munge.socket" --pid-file="$work/run/munged.pid" --log-file="$work/munged.log" \
  --seed-file="$work/munge.seed" 2>/dev/null
slurmctld
slurmd
for _ in $(seq 100); do
  sinfo -h -o %T 2>/dev/null | grep -qx idle && break
  sleep 0.2
done
sinfo -h -o %T | grep -qx idle || { tail -n 5 "$work/slurmctld.log" >&2; fail 'the node is not idle'; }

# ---- jobs ----
cd "$source_dir" || exit
submit() { # NAME [option of sbatch…] -- [key=value…]: sets job
  name=$1
  shift
  local options=()
  while [ "$1" != -- ]; do options+=("$1") && shift; done
  shift
  job=$(PROGRAM=$build/cohort sbatch --parsable --ntasks-per-node=2 --time=10 --output="$work/$name.log" "${options[@]}" scripts/slurm/train.sbatch \
    "$config" run.output="$work/$name" "$@")
}
trouble() { tail -n 20 "$work/$name.log" >&2; fail "$name: $*"; }
state() { scontrol show job "$job" | grep -oE '\b(JobState|ExitCode|Restarts)=[^ ]*' | tr '\n' ' '; }
await_end() { # PATTERN of the state
  for _ in $(seq 600); do
    [[ $(state) =~ JobState=(COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL) ]] && break
    sleep 0.2
  done
  [[ $(state) =~ $1 ]] || trouble "expected $1, found $(state)"
}
await_steps() { # STEPS of the RL stage
  for _ in $(seq 600); do
    [ "$(cat "$work/$name/metrics.jsonl" 2>/dev/null | grep -c '"stage":"rl"')" -ge "$1" ] && return
    sleep 0.1
  done
  trouble "step $1 was not reached"
}
await_line() { # PATTERN COUNT in the log
  for _ in $(seq 600); do
    [ "$(cat "$work/$name.log" 2>/dev/null | grep -cE -- "$1")" -ge "$2" ] && return
    sleep 0.1
  done
  trouble "expected \"$1\" $2 times"
}
slow=(stages.rl.steps=400 stages.rl.train_batch_size=64 stages.rl.ppo_mini_batch_size=64)

train_mini() { mpirun -n 2 "$build/cohort" train "$config" run.output="$work/alone" "${slow[@]}" >"$work/alone.log" 2>&1; }
train_mini || { tail -n 5 "$work/alone.log" >&2; fail 'the undisturbed run'; }

for launcher in srun mpirun; do
  export LAUNCHER=$launcher
  if [ $launcher = srun ] && ! srun --mpi=list 2>&1 | grep -q pmix; then echo 'skipped: this srun has no pmix'; continue; fi
  begin=$(date +%s)
  submit "$launcher" -- "${slow[@]}"
  await_steps 20
  scancel --batch --signal=USR1 "$job" # as --signal=B:USR1@… does before the walltime, and a preemption with send_user_signal
  await_line 'stopped and saved; requeued' 1
  await_line 'going on from step' 1
  await_steps 60
  if [ $launcher = srun ]; then
    scancel --signal=TERM "$job" # to the steps, as a preemption does
  else
    scancel --batch --signal=TERM "$job"
  fi
  await_line 'stopped and saved; requeued' 2
  await_end 'JobState=COMPLETED.*Restarts=2|Restarts=2.*JobState=COMPLETED'
  cmp "$work/alone/stages/rl/model/model.safetensors" "$work/$launcher/stages/rl/model/model.safetensors" || trouble 'other weights than the undisturbed run'
  grep -m1 'rank 0: coordinator' "$work/$launcher.log"
  echo "$launcher: signalled and requeued twice, the same weights ($(($(date +%s) - begin)) s)"

  submit "$launcher-cancelled" -- "${slow[@]}"
  await_steps 20
  scancel "$job"
  await_end 'JobState=CANCELLED'
  sleep 2
  [[ $(state) =~ JobState=CANCELLED ]] || trouble "expected a cancelled job to stay cancelled, found $(state)"
  for _ in $(seq 50); do pgrep -f "run.output=$work/$name" >/dev/null || break; sleep 0.1; done
  left=$(pgrep -f "run.output=$work/$name" || true)
  [ -z "$left" ] || trouble "processes are left: $left"
  echo "$launcher: cancelled, not requeued, no process left"
done

export LAUNCHER=srun
# Slurm may send its own signal up to a minute early, and so before the run looks at the walltime: here it is one that nobody minds.
REQUEUES=0 submit walltime --time=1 --signal=B:CONT@1 -- run.walltime_margin_s=50 stages.rl.steps=100000
await_end 'JobState=FAILED.*ExitCode=75:0|ExitCode=75:0.*JobState=FAILED'
grep -q 'saved (walltime)' "$work/walltime.log" || trouble 'expected the walltime as the reason'
grep -q 'not again' "$work/walltime.log" || trouble 'expected the number of requeues to be bounded'
echo 'walltime: saved before it, exit code 75, requeues bounded'

submit bad -- stages.rl.n=x
await_end 'JobState=FAILED.*ExitCode=2:0|ExitCode=2:0.*JobState=FAILED'
code=0
srun -n 2 "$build/cohort" check "$config" >"$work/none.log" 2>&1 || code=$?
[ "$code" -eq 2 ] || { cat "$work/none.log" >&2; fail "srun without PMIx: expected exit code 2, found $code"; }
grep -q 'srun --mpi=pmix' "$work/none.log" || fail 'srun without PMIx: expected the fix'
echo 'bad input: exit code 2, not requeued; srun without PMIx: refused with the fix'
