#!/usr/bin/env bash
# The whole recipe on this machine: sets up, builds, trains, and ends with the table of stages.
#
#   scripts/run.sh [key.path=value …]      e.g. scripts/run.sh run.seed=18 run.output=runs/seed18
#
# RANKS (default 2) processes share the cores. Started again, it goes on where it stopped, and skips what is done.
# CONFIG (default configs/r1_mini.yaml) names another recipe.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup.sh
scripts/build.sh release cohort

config=${CONFIG:-configs/r1_mini.yaml}
ranks=${RANKS:-2}
[[ $ranks =~ ^[1-9][0-9]*$ ]] || { echo "RANKS: expected a number of processes, found $ranks" >&2; exit 2; }
cores=$(nproc)
threads=$((cores / ranks))
[ "$threads" -ge 1 ] || threads=1
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$threads}
[ "$(id -u)" -ne 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

# Later settings win: a run.output among the arguments replaces this one.
name=$(basename "$config" .yaml)
exec mpirun -n "$ranks" --oversubscribe --bind-to none build/cohort train "$config" "run.output=runs/$name" "$@"
