#!/usr/bin/env bash
# Builds and runs the tests that need GPUs: every operation of NcclGroup, with the real NCCL, compared with the host's communicator.
#
#   scripts/gpu_check.sh
#
# They run with one rank, and with one rank per GPU where there are several. There are no CUDA kernels yet (LibTorch is used on the CPU), so
# no kernel is checked. Exit code 0: all passed; 1: something failed; 2: this machine has no GPU, and nothing was checked.
# COHORT_SKIP_SETUP=1: see scripts/setup.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

gpus=$( (nvidia-smi -L 2>/dev/null || true) | grep -c '^GPU ' || true)
if [ "$gpus" -eq 0 ]; then
  echo "gpu_check: nvidia-smi names no GPU on this machine: nothing was checked" >&2
  exit 2
fi
nvidia-smi --query-gpu=index,name,memory.total,driver_version --format=csv

scripts/setup.sh
scripts/build.sh release cohort_distributed_tests
tests=build/cohort_distributed_tests
count=$("$tests" "[gpu]" --list-test-names-only | grep -c . || true)
if [ "$count" -eq 0 ]; then
  echo "gpu_check: this build has no NCCL: nccl.h and cuda_runtime.h were not found (set NCCL_HOME and CUDA_HOME, and remove build/CMakeCache.txt)" >&2
  exit 1
fi
several=$("$tests" "[gpu][several_gpus]" --list-test-names-only | grep -c . || true)

[ "$(id -u)" -ne 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMP_NUM_THREADS=1 NCCL_DEBUG=${NCCL_DEBUG:-VERSION}
summary=() failed=0
for ranks in $(printf '%s\n' 1 "$gpus" | sort -nu); do
  what="[gpu]" run=$count
  if [ "$ranks" -eq 1 ]; then what="[gpu]~[several_gpus]" run=$((count - several)); fi
  code=0
  timeout 600 mpirun -n "$ranks" --oversubscribe --bind-to none "$tests" "$what" --durations yes || code=$?
  [ "$code" -eq 0 ] || failed=1
  summary+=("gpu_check: $run tests on $ranks of $gpus GPUs: $([ "$code" -eq 0 ] && echo passed || echo "failed, exit code $code")")
done
echo "gpu_check: the tests with this machine's GPUs:"
"$tests" "[gpu]" --list-test-names-only | sed 's/^ */  /' || true  # Catch2 returns the number of tests
printf '%s\n' "${summary[@]}"
echo "gpu_check: CUDA kernels: none in this version, so none was checked"
[ "$gpus" -gt 1 ] || echo "gpu_check: one GPU: $several tests that need several did not run, and nothing was sent between devices"
exit "$failed"
