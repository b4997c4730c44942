#!/usr/bin/env bash
# clang-tidy with .clang-tidy's checks, on the files named or on all of ours.
#
#   scripts/tidy.sh [files…]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

command -v clang-tidy >/dev/null || { echo "tidy: install clang-tidy" >&2; exit 1; }
# A build folder of its own: clang cannot read the precompiled headers of g++.
cmake --preset debug -B .cache/tidy -DCMAKE_EXPORT_COMPILE_COMMANDS=ON -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON -DCMAKE_CXX_COMPILER_LAUNCHER= >/dev/null
ninja -C .cache/tidy -t inputs all | grep -E '\.pb\.h$' | xargs -r ninja -C .cache/tidy >/dev/null
if [ $# -eq 0 ]; then mapfile -t files < <(git ls-files 'core/*.cpp' 'distributed/*.cpp' 'kernels/*.cpp' 'launcher/*.cpp'); else files=("$@"); fi
printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P "$(nproc)" clang-tidy -p .cache/tidy --quiet
