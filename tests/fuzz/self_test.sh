#!/usr/bin/env bash
# The fuzzer finds what is planted (planted.cpp), names it, keeps the input, and finds it again in that input; and finds nothing where
# nothing is planted.
#
#   tests/fuzz/self_test.sh BUILD_FOLDER/cohort_fuzz
set -uo pipefail
fuzzer=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=0
fail() { echo "self_test: $*" >&2; failed=1; }

expect_finding() {  # name, what it says
  local name=$1 what=$2 code=0 input=$folder/$1.1.input
  "$fuzzer" "$name" --seconds 20 --findings "$folder" >"$folder/log" 2>&1 || code=$?
  [ "$code" -ne 0 ] || fail "$name: not found"
  grep -q -- "$what" "$folder/log" || { fail "$name: expected '$what' in:"; tail -n 5 "$folder/log" >&2; }
  [ "$(head -c 1 "$input" 2>/dev/null)" = b ] || { fail "$name: its input was not kept"; return; }
  cp "$input" "$folder/again"
  if "$fuzzer" "$name" --findings "$folder" --replay "$folder/again" >"$folder/log" 2>&1; then fail "$name: not found again"; fi
}

"$fuzzer" planted_nothing --seconds 1 --findings "$folder" >"$folder/log" 2>&1 || { fail "planted_nothing: found"; cat "$folder/log" >&2; }
expect_finding planted_exception "an exception that is no InputError: planted"
expect_finding planted_overflow "AddressSanitizer: heap-buffer-overflow"
expect_finding planted_arithmetic "signed integer overflow"
expect_finding planted_memory "MiB of memory"
expect_finding planted_recursion "AddressSanitizer: stack-overflow"
expect_finding planted_time "s of processor time"
expect_finding planted_hang "not done after 3 s of processor time"
[ "$failed" -eq 0 ] && echo "self_test: all planted errors were found"
exit "$failed"
