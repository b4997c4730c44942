#!/usr/bin/env bash
# Makes a Debian or Ubuntu machine ready to build cohort. The second time it takes a second.
#
#   scripts/setup.sh [--tests]     --tests: what the tests need, too
#
# System packages come through apt (as root, or through sudo). LibTorch and Apache Arrow come out of their PyPI wheels into .deps/ and nowhere
# else; existing ones are used where COHORT_TORCH_ROOT (the folder with include/ and lib/) and COHORT_ARROW_ROOT (the wheel's folder) name them.
# COHORT_SKIP_SETUP=1: the machine has been made ready in another way (scripts/offline_kit.sh, modules, a container): nothing is done here,
# and what is missing after all is named by CMake.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

TORCH_VERSION=2.11.0
ARROW_VERSION=26.0.1
CUDA_RUNTIME="nvidia-cuda-runtime>=13.0,<13.1"  # what libtorch_cpu.so of this version loads, with or without a GPU
CUDA_CUPTI="nvidia-cuda-cupti>=13.0,<13.1"
PACKAGES=(
  build-essential cmake ninja-build ccache mold git unzip ca-certificates
  python3 python3-venv python3-pip
  openmpi-bin libopenmpi-dev
  protobuf-compiler libprotobuf-dev libyaml-cpp-dev nlohmann-json3-dev libfmt-dev libspdlog-dev libcli11-dev
  libxxhash-dev libutf8proc-dev libpcre2-dev catch2
)
TEST_PACKAGES=(strace procps)  # to inject faults, and to see that no process is left

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 1; }

case "$*" in
  "") ;;
  --tests) PACKAGES+=("${TEST_PACKAGES[@]}") ;;
  *) echo "setup: expected no argument or --tests, found $*" >&2; exit 2 ;;
esac

case "${COHORT_SKIP_SETUP:-}" in
  "" | 0) ;;
  1) say "skipped (COHORT_SKIP_SETUP=1)"; exit 0 ;;
  *) echo "setup: COHORT_SKIP_SETUP: expected 0 or 1, found $COHORT_SKIP_SETUP" >&2; exit 2 ;;
esac

# ---- system packages ----
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "these packages are missing and need root or sudo: ${missing[*]}"
  fi
}

install_packages() {
  command -v dpkg-query >/dev/null || fail "this is no Debian or Ubuntu; install the likes of: ${PACKAGES[*]}"
  missing=()
  local package
  for package in "${PACKAGES[@]}"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  say "installing ${missing[*]}"
  local log
  log=$(mktemp)
  if ! { as_root apt-get update && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    fail "apt-get failed; its whole output is in $log"
  fi
  rm -f "$log"
}

# ---- LibTorch ----
has_torch() { [ -f "$1/lib/libtorch_cpu.so" ] && [ -f "$1/lib/libc10.so" ] && [ -f "$1/include/ATen/ATen.h" ]; }

# Downloads a wheel by pip and unpacks what matches the patterns into a folder of its own.
fetch_wheel() {  # requirement folder patterns…
  local requirement=$1 folder=$2
  shift 2
  local quiet=--quiet
  if [ -t 2 ]; then quiet=; fi  # on a terminal, show how far the download is
  [ -x .deps/venv/bin/pip ] || /usr/bin/python3 -m venv .deps/venv  # Debian's own Python allows no pip outside of a venv
  .deps/venv/bin/pip download $quiet --disable-pip-version-check --no-deps --only-binary=:all: --no-cache-dir \
    --dest "$folder/wheel" "$requirement"
  unzip -q "$folder"/wheel/*.whl "$@" -d "$folder"
}

install_torch() {
  local root=${COHORT_TORCH_ROOT:-}
  if [ -n "$root" ]; then
    has_torch "$root" || fail "COHORT_TORCH_ROOT=$root has no include/ATen/ATen.h, lib/libtorch_cpu.so and lib/libc10.so"
    return
  fi
  has_torch .deps/torch && [ "$(cat .deps/torch/cohort_version 2>/dev/null)" = "$TORCH_VERSION" ] && return
  [ "$(uname -m)" = x86_64 ] || fail "set COHORT_TORCH_ROOT: only x86-64 is set up by this script"
  say "downloading LibTorch $TORCH_VERSION (530 MB, once)"
  local temporary
  temporary=$(mktemp -d .deps/unfinished.XXXXXX)
  fetch_wheel "torch==$TORCH_VERSION" "$temporary" 'torch/include/*' 'torch/lib/libtorch_cpu.so' 'torch/lib/libc10.so' 'torch/lib/libgomp*'
  echo "$TORCH_VERSION" >"$temporary/torch/cohort_version"
  rm -rf .deps/torch
  mv "$temporary/torch" .deps/torch  # all or nothing: an interrupted download leaves no half of a library
  rm -rf "$temporary"
}

# ---- Arrow, for Parquet files ----
has_arrow() { [ -f "$1/include/parquet/arrow/reader.h" ] && compgen -G "$1/libarrow.so.[0-9]*" >/dev/null && compgen -G "$1/libparquet.so.[0-9]*" >/dev/null; }

install_arrow() {
  local root=${COHORT_ARROW_ROOT:-}
  if [ -n "$root" ]; then
    has_arrow "$root" || fail "COHORT_ARROW_ROOT=$root has no include/parquet/arrow/reader.h, libarrow.so.* and libparquet.so.*"
    return
  fi
  has_arrow .deps/arrow && [ "$(cat .deps/arrow/cohort_version 2>/dev/null)" = "$ARROW_VERSION" ] && return
  say "downloading Apache Arrow $ARROW_VERSION (50 MB, once)"
  local temporary
  temporary=$(mktemp -d .deps/unfinished.XXXXXX)
  fetch_wheel "pyarrow==$ARROW_VERSION" "$temporary" 'pyarrow/include/arrow/*' 'pyarrow/include/parquet/*' \
    'pyarrow/libarrow.so.*' 'pyarrow/libparquet.so.*'
  echo "$ARROW_VERSION" >"$temporary/pyarrow/cohort_version"
  rm -rf .deps/arrow
  mv "$temporary/pyarrow" .deps/arrow
  rm -rf "$temporary"
}

has_cuda_libraries() {
  local folder
  for folder in .deps/nvidia/cu13/lib "${COHORT_TORCH_ROOT:-.deps/torch}/../nvidia/cu13/lib" /usr/local/cuda-13.0/lib64 /usr/local/cuda-13/lib64 /usr/local/cuda/lib64; do
    [ -f "$folder/libcudart.so.13" ] && { [ -f "$folder/libcupti.so.13" ] || [ -f "$folder/../extras/CUPTI/lib64/libcupti.so.13" ]; } && return
  done
  return 1
}

install_cuda_libraries() {
  has_cuda_libraries && return
  say "downloading two small CUDA libraries that LibTorch loads"
  local temporary
  temporary=$(mktemp -d .deps/unfinished.XXXXXX)
  fetch_wheel "$CUDA_RUNTIME" "$temporary" 'nvidia/cu13/lib/libcudart.so.13'
  rm -rf "$temporary/wheel"
  fetch_wheel "$CUDA_CUPTI" "$temporary" 'nvidia/cu13/lib/libcupti.so.13'
  rm -rf .deps/nvidia
  mv "$temporary/nvidia" .deps/nvidia
  rm -rf "$temporary"
}

# ---- once ----
mkdir -p .deps
exec 9>.deps/lock
flock 9  # one setup at a time
stamp=.deps/packages
wanted=$(printf '%s\n' "${PACKAGES[@]}" | cksum)
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || ! type cmake ninja mpirun protoc >/dev/null 2>&1; then
  install_packages
  echo "$wanted" >"$stamp"
fi
if compgen -G '.deps/unfinished.*' >/dev/null; then rm -rf .deps/unfinished.*; fi  # of an interrupted run
install_torch
install_arrow
install_cuda_libraries
say "ready"
