#!/usr/bin/env python3
"""Compares two metrics.jsonl line by line, all but times.

    compare_metrics.py ONE OTHER TOLERANCE     relative; 0 means equal
    compare_metrics.py --logprobs FILE         sampling and training log-probabilities within 1e-6 in every RL step
"""
import json
import sys


def rows(path):
    with open(path) as lines:
        return [json.loads(line) for line in lines]


def is_measured(name):
    return name.startswith("timing_s/") or name in ("perf/throughput", "perf/max_memory_rss_gb")


def compare(one, other, tolerance):
    first, second = rows(one), rows(other)
    assert len(first) == len(second), f"{len(first)} lines and {len(second)} lines"
    compared = 0
    for a, b in zip(first, second):
        # Which step waits for a save, and so has its time, depends on the disk.
        other = {name for name in a.keys() ^ b.keys() if not is_measured(name)}
        assert not other, f"{a['stage']} step {a['step']}: other metrics: {sorted(other)}"
        for name in a:
            if is_measured(name):
                continue
            x, y = a[name], b[name]
            same = x == y if tolerance == 0 or isinstance(x, str) else abs(x - y) <= tolerance * max(abs(x), abs(y), 1e-9)
            assert same, f"{a['stage']} step {a['step']}: {name}: {x} and {y}"
            compared += 1
    assert compared > 100, "too few metrics to mean anything"
    print(f"{compared} numbers agree (tolerance {tolerance})")


def check_logprobs(path):
    name = "training/rollout_logprob_abs_diff_max"
    values = [row[name] for row in rows(path) if name in row]
    assert len(values) >= 20, f"{name} in {len(values)} steps only"
    assert max(values) <= 1e-6, f"{name}: {max(values)}"
    print(f"{name}: at most {max(values)} in {len(values)} steps")


if sys.argv[1] == "--logprobs":
    check_logprobs(sys.argv[2])
else:
    compare(sys.argv[1], sys.argv[2], float(sys.argv[3]))
