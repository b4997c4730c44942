#!/usr/bin/env bash
# Feeds the parsers of foreign input with mutated input, under ASan and UBSan; one parser per core at a time.
#
#   scripts/fuzz.sh [--seed N] [seconds per parser, default 60] [parser…]     build-asan/cohort_fuzz --list names the parsers
#
# Without --seed, the seed is the time, and is printed. Inputs that were findings before (tests/fuzz/findings/PARSER/) come first.
# Exit code 1 on a finding: its input is left in build-asan/findings, and runs again with
#   build-asan/cohort_fuzz PARSER --replay FILE
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() { echo "fuzz: expected [--seed N] [seconds] [parser…], found $*" >&2; exit 2; }
all_arguments=$*
seed=$(date +%s)
if [ "${1:-}" = --seed ]; then
  seed=${2:-}
  shift 2 || usage "$all_arguments"
fi
seconds=${1:-60}
[ $# -gt 0 ] && shift
[[ $seed =~ ^[0-9]+$ && $seconds =~ ^[0-9]+$ ]] || usage "$all_arguments"

scripts/build.sh asan cohort_fuzz >&2
fuzzer=build-asan/cohort_fuzz
findings=build-asan/findings
mkdir -p "$findings"
export OMP_NUM_THREADS=1
known=$("$fuzzer" --list)
for parser in "$@"; do
  grep -qx -- "$parser" <<<"$known" || { echo "fuzz: expected one of $(echo $known), found $parser" >&2; exit 2; }
done

fuzz_one() {
  local parser=$1 old
  old=$(compgen -G "tests/fuzz/findings/$parser/*" || true)
  if [ -n "$old" ]; then "$fuzzer" "$parser" --findings "$findings" --replay $old || return 1; fi
  "$fuzzer" "$parser" --seconds "$seconds" --seed "$seed" --findings "$findings"
}
export -f fuzz_one
export fuzzer findings seconds seed
echo "fuzz: $seconds s each, seed $seed"
if printf '%s\n' ${@:-$known} | xargs -P "${COHORT_JOBS:-$(nproc)}" -I{} bash -c 'fuzz_one {}'; then
  echo "fuzz: no finding"
else
  echo "fuzz: findings, see above; their inputs are in $findings" >&2
  exit 1
fi
