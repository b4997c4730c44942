#!/usr/bin/env bash
# Builds and runs every test.
#
#   scripts/test.sh [ctest arguments…]     e.g. scripts/test.sh -R core.rl, or scripts/test.sh -LE end_to_end
#
# COHORT_DATA names the folder with real data; tests that need it are skipped, saying so, where it is not set.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup.sh --tests
scripts/build.sh release
scripts/build.sh asan

# Two at a time; those under mpirun count as two.
exec ctest --test-dir build --output-on-failure --no-tests=error -j 2 "$@"
