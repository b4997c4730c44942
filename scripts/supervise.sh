#!/usr/bin/env bash
# Trains under mpirun and starts again after a crash, from the last committed step.
#
#   scripts/supervise.sh -n N [--max-restarts M] -- CONFIG [key=value …]
#
# N ranks; at most M restarts (default 3). It gives up, with exit code 1, after M restarts, or when the run dies twice without having
# committed a step in between. Exit codes 0 (done), 2 (bad input) and 75 (stopped and saved) are passed on at once.
# SIGTERM, SIGINT and SIGUSR1 are passed on as SIGUSR1: the run saves and ends with 75; a second one ends it at once. When this script
# ends, so has every process it started.
#
# COHORT is the program (default build/cohort), MPIRUN the launcher with its options (default mpirun).
set -uo pipefail

usage() {
  echo "supervise: $1" >&2
  echo "usage: scripts/supervise.sh -n N [--max-restarts M] -- CONFIG [key=value …]" >&2
  exit 2
}

is_number() { [[ $1 =~ ^[0-9]{1,6}$ ]]; }

ranks='' max_restarts=3
while [ $# -gt 0 ]; do
  case $1 in
    -n) ranks=${2-} && shift ;;
    --max-restarts) max_restarts=${2-} && shift ;;
    --) break ;;
    *) usage "expected -n, --max-restarts or --, found \"$1\"" ;;
  esac
  shift || usage "an option without its value"
done
[ $# -ge 2 ] || usage "expected -- and a config"
shift
{ is_number "$ranks" && [ "$ranks" -ge 1 ]; } || usage "-n: expected a number of ranks, found \"$ranks\""
is_number "$max_restarts" || usage "--max-restarts: expected a number, found \"$max_restarts\""

program=${COHORT:-$(dirname "${BASH_SOURCE[0]}")/../build/cohort}
read -ra launcher <<<"${MPIRUN:-mpirun}"
[ -x "$program" ] || usage "$program: expected the program, found none; build it with scripts/build.sh"
command -v "${launcher[0]}" >/dev/null || usage "${launcher[0]}: expected a launcher, found none"

say() { echo "supervise: $*" >&2; }

job='' # the launcher's pid, which is its session's too
stopping=0 caught=0

# shellcheck disable=SC2317  # called by a trap
pass_on() {
  stopping=1 caught=1
  [ -z "$job" ] || kill -USR1 "$job" 2>/dev/null
}

# Whatever is left of a launch: ranks whose launcher was killed.
sweep() {
  [ -n "$job" ] || return 0
  pkill -KILL -s "$job" 2>/dev/null
  while pgrep -s "$job" -r R,S,D,T >/dev/null; do sleep 0.1; done
  job=''
}

trap pass_on TERM INT USR1
trap sweep EXIT

# A session of its own, so that Ctrl-C reaches the run once, through us; and no life without us.
launch() {
  setsid setpriv --pdeathsig TERM "${launcher[@]}" -n "$ranks" "$program" train "$@" &
  job=$!
  while :; do
    caught=0
    wait "$job"
    code=$?
    [ "$caught" -eq 1 ] || break # else a signal ended the wait
  done
  sweep
}

# One line, or nothing where the run folder cannot be read: the run itself says why. Under the launcher, as Open MPI starts nowhere else
# inside a step of srun.
committed() { "${launcher[@]}" -n 1 "$program" status "$@" 2>/dev/null || true; }

restarts=0
before=''
while :; do
  launch "$@"
  case $code in 0 | 2 | 75) exit "$code" ;; esac
  now=$(committed "$@")
  # Asked here, for the request may have come while there was no run to pass it on to.
  [ "$stopping" -eq 0 ] || { say "exit code $code after a request to stop"; exit "$code"; }
  if [ "$now" = "$before" ]; then
    say "giving up: exit code $code, and no step was committed since the last start (${now:-no run folder}): it dies at the same step again"
    exit 1
  fi
  if [ "$restarts" -ge "$max_restarts" ]; then
    say "giving up: exit code $code after $restarts restarts (--max-restarts); ${now:-no run folder}"
    exit 1
  fi
  restarts=$((restarts + 1))
  before=$now
  say "exit code $code; restart $restarts of $max_restarts: ${now:-no run folder}"
done
