#!/usr/bin/env python3
"""Does the layout change the result? Runs configs/smoke.yaml in many layouts and prints one table.

    scripts/layout_check.py [--threads] [--out FOLDER] [--config FILE] [key=value…]     key=value goes to every run

A row is a layout: ranks, the mesh dp x ep, placement, ZeRO-1, sharded parameters, recompute, staleness. The first run is the reference: one rank. For every other
one the table says whether the samples of every RL stage and the weights of every stage are the same bytes, and every metric but times the same
number. Runs with max_staleness sample with older weights: there only that they finish is asked for.

Needs build/cohort, and with --threads (ranks are threads of one process, not processes of mpirun) build/cohort_distributed_tests. Exit code 0, or 1 when a row is not as it must be.
"""

import argparse
import filecmp
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SLOTS = "trainer.reduction_slots=8"  # so that 8 ranks may share a batch
ZERO1, RECOMPUTE = "trainer.optimizer_sharding=zero1", "trainer.recompute=layer"
FULL = "trainer.parameter_sharding=full"


def ep(size):
    return f"cluster.expert_parallel_size={size}"


def split(rollout_ranks, staleness=0):
    settings = ["cluster.placement=split", f"cluster.rollout_ranks={rollout_ranks}"]
    return settings + ([f"cluster.max_staleness={staleness}"] if staleness else [])


LAYOUTS = [  # ranks, settings
    (1, []),
    (1, [RECOMPUTE]),
    (2, []),
    (2, [ZERO1]),
    (2, [ZERO1, FULL]),
    (2, [ep(2)]),
    (3, split(1)),
    (4, []),
    (4, [ZERO1, RECOMPUTE]),
    (4, [ep(2)]),
    (4, [ep(4), ZERO1]),
    (4, [ep(2), ZERO1, FULL, RECOMPUTE]),
    (4, [ep(2), RECOMPUTE]),
    (4, split(2) + [ZERO1]),
    (6, split(2) + [ep(2)]),
    (6, split(2) + [ep(4), ZERO1, FULL]),
    (8, []),
    (8, [ep(4), ZERO1, RECOMPUTE]),
    (8, [ep(4), ZERO1, FULL]),
    (8, split(4) + [ep(2), ZERO1]),
    (3, split(1, staleness=1)),
]


def setting(settings, key, default):
    for entry in settings:
        if entry.startswith(key + "="):
            return entry.split("=", 1)[1]
    return default


def describe(ranks, settings):
    rollout_ranks = int(setting(settings, "cluster.rollout_ranks", 0))
    experts = int(setting(settings, "cluster.expert_parallel_size", 1))
    trainers = ranks - rollout_ranks
    placement = f"split, {rollout_ranks} roll out" if rollout_ranks else "colocated"
    return [str(ranks), f"{trainers // experts} x {experts}", placement,
            "yes" if ZERO1 in settings else "no", "yes" if FULL in settings else "no", "yes" if RECOMPUTE in settings else "no",
            setting(settings, "cluster.max_staleness", "0")]


def run(config, folder, ranks, settings, threads):
    """Seconds, or None when it did not finish."""
    settings = [f"run.output={folder}", SLOTS, *settings]
    environment = dict(os.environ, OMP_NUM_THREADS="1", OMPI_MCA_mpi_yield_when_idle="1", OMPI_MCA_rmaps_base_oversubscribe="1",
                       OMPI_MCA_hwloc_base_binding_policy="none")
    if os.geteuid() == 0:
        environment.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    command = ["mpirun", "-n", str(ranks), str(ROOT / "build/cohort"), "train", config, *settings]
    if threads:
        environment.update(COHORT_LAYOUT_CONFIG=config, COHORT_LAYOUT_RANKS=str(ranks), COHORT_LAYOUT_SETTINGS="\n".join(settings))
        command = [str(ROOT / "build/cohort_distributed_tests"), "[layout_run]"]
    begin = time.monotonic()
    with open(f"{folder}.log", "w", encoding="utf-8") as log:
        code = subprocess.run(command, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    return time.monotonic() - begin if code == 0 else None


def same_files(one, other, pattern):
    """Number of files that differ, of all that the first run has."""
    files = sorted(path.relative_to(one) for path in one.glob(pattern))
    if not files:
        sys.exit(f"{one}: no {pattern}")
    return sum(not (other / file).exists() or not filecmp.cmp(one / file, other / file, shallow=False) for file in files)


def compare_metrics(one, other):
    """"equal", or the first difference."""
    script = ROOT / "tests/end_to_end/compare_metrics.py"
    result = subprocess.run([sys.executable, script, one / "metrics.jsonl", other / "metrics.jsonl", "0"], capture_output=True, text=True,
                            check=False)
    return "equal" if result.returncode == 0 else result.stderr.strip().splitlines()[-1].removeprefix("AssertionError: ")


def verdict(reference, folder, stale):
    """Cells and whether they are as they must be."""
    if stale:
        return ["older weights", "older weights", "-"], True
    samples, weights = same_files(reference, folder, "samples/*.jsonl"), same_files(reference, folder, "stages/*/model/model.safetensors")
    cells = ["equal" if n == 0 else f"{n} files differ" for n in (samples, weights)] + [compare_metrics(reference, folder)]
    return cells, cells == ["equal"] * 3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="where the runs go; a temporary folder unless given")
    parser.add_argument("--config", default=str(ROOT / "configs/smoke.yaml"))
    parser.add_argument("--threads", action="store_true")
    parser.add_argument("settings", nargs="*")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = pathlib.Path(arguments.out or temporary)
        out.mkdir(parents=True, exist_ok=True)
        good = True
        print("| ranks | dp x ep | placement | ZeRO-1 | sharded parameters | recompute | max_staleness | samples | weights | metrics | seconds |")
        print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
        for index, (ranks, settings) in enumerate(LAYOUTS):
            folder = out / f"layout{index}"
            seconds = run(arguments.config, folder, ranks, [*arguments.settings, *settings], arguments.threads)
            if seconds is None:
                cells, met = ["did not finish", f"see {folder}.log", "-"], False
            elif index == 0:
                cells, met = ["the reference", "the reference", "-"], True
            else:
                cells, met = verdict(out / "layout0", folder, setting(settings, "cluster.max_staleness", "0") != "0")
            good = good and met
            print(f"| {' | '.join(describe(ranks, settings) + cells + [f'{seconds:.0f}' if seconds else '-'])} |", flush=True)
            if index == 0 and not met:
                return 1
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
