# Shared by the end-to-end tests. Usage: source; the first argument of each test is the build folder.
set -euo pipefail
build=$(cd "$1" && pwd)
source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1
# Ranks that share cores must not spin, and nothing may wait for a core of its own.
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none

train() { # RANKS OUTPUT [key=value…]
  local ranks=$1 output=$2
  shift 2
  mpirun -n "$ranks" "$build/cohort" train "$source_dir/configs/smoke.yaml" run.output="$output" "$@" >"$output.log" 2>&1
}

fail() { echo "FAIL: $*" >&2; exit 1; }
