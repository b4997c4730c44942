#!/usr/bin/env bash
# Configures and builds.
#
#   scripts/build.sh [release|debug|asan|cuda] [targets…]
#
# release (the default) builds into build/, the others into build-NAME/. COHORT_JOBS sets the number of compilers at a time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

preset=${1:-release}
[ $# -gt 0 ] && shift
folder=build
[ "$preset" = release ] || folder=build-$preset

# One compiler per core, but 2 GB of memory for each.
jobs=${COHORT_JOBS:-}
if [ -z "$jobs" ]; then
  by_memory=$(awk '/^MemAvailable:/ { print int($2 / 2097152) }' /proc/meminfo)
  jobs=$(nproc)
  [ "$by_memory" -ge "$jobs" ] || jobs=$by_memory
  [ "$jobs" -ge 1 ] || jobs=1
fi

if ! log=$(cmake --preset "$preset" 2>&1); then
  echo "$log" >&2
  exit 1
fi
cmake --build "$folder" -j "$jobs" ${1:+--target "$@"}
