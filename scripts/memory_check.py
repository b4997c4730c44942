#!/usr/bin/env python3
"""Is `cohort plan` right about memory? Runs small RL stages and compares their peak resident memory with the plan's total.

    scripts/memory_check.py [BUILD_FOLDER]      default: build

A run's peak is the program itself plus what the plan counts. The program itself is measured with a step so small that the plan's total is
next to nothing. The policy has random weights, so most answers reach their longest, as the plan assumes. With several ranks the largest
one counts. Prints a table; exit code 1 when a run differs by more than 15 %. Some minutes on two cores.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile

LIMIT = 0.15
RECIPE = """
run: {{name: memory, output: {folder}/run}}
model: {{preset: {preset}, dtype: {dtype}}}
trainer: {{micro_batch_size: {micro}{trainer}}}
cluster: {{expert_parallel_size: {ep}}}
eval: {{questions: 1, general_questions: 0, data: {{tasks: ["add:1"]}}, rollout: {{n: 1, max_response_length: 1}}}}
stages:
  - name: zero
    type: rl
    data: {{tasks: ["add:4"]}}
    rollout: {{n: 16, max_response_length: {answer}}}
    train_batch_size: {questions}
    ppo_mini_batch_size: {questions}
    steps: 2
    rewards: {{accuracy: 1.0, format: 1.0}}
    algorithm: {{filter_groups: {{enable: false}}, use_kl_loss: true}}
"""
DEFAULTS = {"preset": "dense_tiny", "dtype": "fp32", "micro": 256, "answer": 24, "questions": 64, "ranks": 1, "ep": 1, "trainer": ""}
RUNS = [
    {},
    {"micro": 1024},
    {"preset": "deepseek_v3_tiny"},
    {"preset": "deepseek_v3_tiny", "micro": 1024, "trainer": ", reduction_slots: 1"},
    {"preset": "calibration_b"},
    {"dtype": "bf16"},
    {"preset": "deepseek_v3_tiny", "dtype": "bf16"},
    {"preset": "deepseek_v3_tiny", "ranks": 2},
    {"preset": "deepseek_v3_tiny", "ranks": 2, "ep": 2},
    {"preset": "deepseek_v3_tiny", "trainer": ", recompute: layer"},
    {"trainer": ", recompute: layer"},
    {"preset": "deepseek_v3_tiny", "ranks": 2, "ep": 2, "trainer": ", recompute: layer, optimizer_sharding: zero1"},
    {"preset": "deepseek_v3_tiny", "ranks": 2, "trainer": ", optimizer_sharding: zero1, parameter_sharding: full"},
]
MPIRUN = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n"]


def write_recipe(folder, settings):
    path = os.path.join(folder, "recipe.yaml")
    with open(path, "w") as out:
        out.write(RECIPE.format(folder=folder, **settings))
    return path


def peak(program, folder, settings):
    """MiB of the largest rank."""
    path = write_recipe(folder, settings)
    shutil.rmtree(os.path.join(folder, "run"), ignore_errors=True)
    ranks = settings["ranks"]
    # Each rank writes its own peak when it ends: getrusage of a child of this shell-less wrapper.
    wrapper = "import resource,subprocess,sys;c=subprocess.run(sys.argv[2:]).returncode;" \
              "open(sys.argv[1]+str(__import__('os').getpid()),'w').write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss));sys.exit(c)"
    marks = tempfile.mkdtemp(dir=folder)
    command = [sys.executable, "-c", wrapper, marks + "/", program, "train", path]
    if ranks > 1:
        command = MPIRUN + [str(ranks)] + command
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(done.stdout[-2000:])
    return max(int(open(os.path.join(marks, name)).read()) for name in os.listdir(marks)) / 1024


def planned(program, folder, settings):
    """MiB."""
    path = write_recipe(folder, settings)
    text = subprocess.run([program, "plan", path, "--ranks", str(settings["ranks"]), "--json"], check=True, stdout=subprocess.PIPE).stdout
    return json.loads(text)["stages"][0]["memory_bytes_per_rank"]["total"] / 2**20


def main():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    program = os.path.join(root, sys.argv[1] if len(sys.argv) > 1 else "build", "cohort")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        print("| model | dtype | ranks | ep | micro batch | trainer | the program | planned | sum | measured | difference | |")
        print("|---|---|---|---|---|---|---|---|---|---|---|---|")
        for run in RUNS:
            settings = {**DEFAULTS, **run}
            small = {**settings, "questions": 4, "micro": 1, "answer": 1}
            itself = peak(program, folder, small) - planned(program, folder, small)
            plan = planned(program, folder, settings)
            measured = peak(program, folder, settings)
            difference = (plan + itself) / measured - 1.0
            ok = abs(difference) <= LIMIT
            bad += not ok
            print(f"| {settings['preset']} | {settings['dtype']} | {settings['ranks']} | {settings['ep']} | {settings['micro']} | {settings['trainer'][2:]} "
                  f"| {itself:.0f} MiB | {plan:.0f} MiB | {plan + itself:.0f} MiB | {measured:.0f} MiB | {100 * difference:+.1f} % "
                  f"| {'ok' if ok else 'NOT within 15 %'} |", flush=True)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
