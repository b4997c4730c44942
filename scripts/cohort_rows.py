"""For scripts that compare the program with another: runs it, and writes and reads the rows of its JSONL files."""
import json
import subprocess


def run(arguments):
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"exit code {done.returncode}: {' '.join(str(a) for a in arguments)}\n{done.stderr.strip()}")


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]
