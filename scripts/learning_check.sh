#!/usr/bin/env bash
# Does it learn? Runs configs/r1_mini.yaml and the calibration tests A and B with several seeds, then prints the tables and verdicts of
# scripts/learning_table.py. B also with 16 minibatches per rollout. Started again, it goes on where it stopped.
#
#   scripts/learning_check.sh [seeds of r1_mini…]     default: 17 18 19
#
# RUNS (default runs) is where the run folders go, RANKS (default 2) the number of processes, CALIBRATION_SEEDS (default "0 1 2") the seeds of A
# and B. Exit code 1 when something is not met.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup.sh
scripts/build.sh release cohort  # once: all runs are of the same program

ranks=${RANKS:-2}
[[ $ranks =~ ^[1-9][0-9]*$ ]] || { echo "RANKS: expected a number of processes, found $ranks" >&2; exit 2; }
threads=$(($(nproc) / ranks))
[ "$threads" -ge 1 ] || threads=1
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$threads}
[ "$(id -u)" -ne 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

folders=()
run() { # NAME CONFIG SEED [key.path=value…]
  local name=$1 config=$2 seed=$3
  shift 3
  local folder=${RUNS:-runs}/$name
  echo "== $folder"
  mpirun -n "$ranks" --oversubscribe --bind-to none build/cohort train "configs/$config.yaml" "run.seed=$seed" "run.output=$folder" "$@"
  folders+=("$folder")
}

[ $# -gt 0 ] || set -- 17 18 19
read -ra calibration_seeds <<<"${CALIBRATION_SEEDS:-0 1 2}"
for seed in "$@"; do run "seed$seed" r1_mini "$seed"; done
for seed in "${calibration_seeds[@]}"; do run "calibration_a_seed$seed" calibration_a "$seed"; done
for seed in "${calibration_seeds[@]}"; do run "calibration_b_seed$seed" calibration_b "$seed"; done
for seed in "${calibration_seeds[@]}"; do
  run "calibration_b_16_seed$seed" calibration_b "$seed" run.name=calibration_b_16 stages.grpo.train_batch_size=512 stages.grpo.steps=40 \
    stages.grpo.optim.lr=1.0e-4
done

echo
exec scripts/learning_table.py "${folders[@]}"
