#!/usr/bin/env python3
"""Checks that every #include respects the layers.

A folder may include folders on a line below its own in LAYERS, itself, and nothing else: never upward, never sideways. The files of
core know nothing about MPI or NCCL, and kernels nothing about the rest. Tests may include everything.

    scripts/check_layers.py              checks the tree; exit code 1 and one line per violation
    scripts/check_layers.py --self-test  checks this script
"""

import pathlib
import re
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent

# From the highest to the lowest. Folders on one line do not know one another.
LAYERS = [
    ["launcher"],
    ["distributed/roles"],
    ["distributed/weights", "distributed/parallel"],
    ["distributed/message", "distributed/mesh", "distributed/control"],
    ["distributed/proto", "distributed/comm"],
    ["core/pipeline"],
    ["core/eval"],
    ["core/data", "core/generate", "core/reward", "core/rl", "core/train"],
    ["core/model", "core/text"],
    ["core/config", "core/records"],
    ["core/base"],
    ["kernels/*"],  # one folder per operation
    ["kernels/gemm", "kernels/swiglu", "kernels/token_logprob"],  # operations that others are made of
    ["kernels/common"],
]
CODE_FOLDERS = ["launcher", "distributed", "core", "kernels"]
SUFFIXES = {".h", ".cpp", ".cu", ".cuh"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
IMPORT = re.compile(r'^\s*import\s*(")([^"]+)"')  # of .proto files
NOT_IN_CORE = re.compile(r"(^|/)(mpi|nccl)\.h$")


def folder_of(path):
    """The layered folder of a path relative to the root, or None where the path is in none."""
    parts = pathlib.PurePosixPath(path).parts
    if parts[0] == "launcher" and len(parts) > 1:
        return "launcher"
    return "/".join(parts[:2]) if len(parts) > 2 and parts[0] in CODE_FOLDERS else None


def height(folder):
    """Index of the folder's line counted from the bottom, or None for an unknown folder."""
    for index, line in enumerate(reversed(LAYERS)):
        if folder in line:
            return index
    return len(LAYERS) - 1 - LAYERS.index(["kernels/*"]) if folder.startswith("kernels/") else None


def problem(path, bracket, included):
    """What is wrong with an include in the file `path`, or None."""
    source = folder_of(path)
    if path.startswith(("core/", "kernels/")) and NOT_IN_CORE.search(included):
        return f"{included}: {path.split('/')[0]} does not know other processes"
    if bracket == "<":
        return f"<{included}>: a file of ours is included with quotes" if included.split("/")[0] in CODE_FOLDERS else None
    target = folder_of(included)
    if target is None or height(target) is None:
        return f'"{included}" is in no known folder; includes start at the root of the repository'
    if source == target:
        return None
    if height(source) == height(target):
        return f'"{included}" is beside {source}, not below it'
    if height(source) < height(target):
        return f'"{included}" is above {source}'
    return None


def check(root):
    problems = []
    files = [f for top in CODE_FOLDERS for f in sorted((root / top).rglob("*")) if f.suffix in SUFFIXES | {".proto"}]
    for file in files:
        path = file.relative_to(root).as_posix()
        if folder_of(path) is None or height(folder_of(path)) is None:
            problems.append(f"{path}:1: the folder is in no layer of scripts/check_layers.py")
            continue
        pattern = IMPORT if file.suffix == ".proto" else INCLUDE
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            match = pattern.match(line)
            if not match or (file.suffix == ".proto" and match[2].startswith("google/")):
                continue
            what = problem(path, match[1], match[2])
            if what:
                problems.append(f"{path}:{number}: {what}")
    return problems, len(files)


def self_test():
    cases = [  # file, its line, is it allowed?
        ("core/rl/a.cpp", '#include "core/rl/b.h"', True),
        ("core/rl/a.cpp", '#include "core/base/error.h"', True),
        ("core/rl/a.cpp", '#  include "core/model/deep/er.h"', True),
        ("core/rl/a.cpp", '#include "core/train/b.h"', False),  # sideways
        ("core/base/a.h", '#include "core/config/field.h"', False),  # upward
        ("core/base/a.h", "#include <mpi.h>", False),
        ("core/base/a.h", "#include <nccl.h>", False),
        ("core/base/a.h", "#include <vector>", True),
        ("core/base/a.h", "#include <core/base/error.h>", False),
        ("core/base/a.h", '#include "error.h"', False),  # not from the root
        ("core/base/a.h", '#include "core/nowhere/b.h"', False),
        ("core/nowhere/a.h", "", False),
        ("core/model/a.cpp", '#include "kernels/gemm/gemm.h"', True),
        ("kernels/gemm/a.cpp", '#include "kernels/common/b.h"', True),
        ("kernels/gemm/a.cpp", '#include "kernels/norm/b.h"', False),
        ("kernels/gemm/a.cu", '#include "core/base/error.h"', False),
        ("core/pipeline/a.h", '#include "distributed/comm/b.h"', False),
        ("distributed/comm/a.cpp", "#include <mpi.h>", True),
        ("distributed/roles/a.cpp", '#include "distributed/weights/b.h"', True),
        ("distributed/weights/a.cpp", '#include "distributed/parallel/b.h"', False),
        ("launcher/commands/a.cpp", '#include "launcher/run_config.h"', True),
        ("launcher/main.cpp", '#include "distributed/roles/b.h"', True),
        ("distributed/roles/a.cpp", '#include "launcher/run_config.h"', False),
        ("core/rl/a.cpp", '// #include "core/train/b.h"', True),
        ("core/records/a.proto", 'import "core/base/b.proto";', True),
        ("core/records/a.proto", 'import "core/text/b.proto";', False),
        ("core/records/a.proto", 'import "google/protobuf/any.proto";', True),
    ]
    wrong = 0
    for path, line, allowed in cases:
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, path)
            file.parent.mkdir(parents=True)
            file.write_text(line + "\n")
            problems, _ = check(pathlib.Path(folder))
        if allowed == bool(problems):
            wrong += 1
            print(f"{path}: {line}: expected {'no problem' if allowed else 'a problem'}, found {problems}")
    print(f"self-test: {len(cases) - wrong} of {len(cases)} cases right")
    return wrong


def main():
    if sys.argv[1:] == ["--self-test"]:
        return 1 if self_test() else 0
    if sys.argv[1:]:
        sys.exit(__doc__)
    problems, count = check(ROOT)
    print("\n".join(problems) if problems else f"{count} files respect the layers")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
