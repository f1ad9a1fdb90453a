#!/usr/bin/env bash
# Guess: max_rss in a `benchmark:` file is the peak memory of the job, as /usr/bin/time has it.
# What happens (snakemake 9.27.1): it is the largest of samples, taken every 0.5 s for the first
# 30 samples and every 30 s after that. A job of 32 s that holds 600 MB for 8 s in its middle is
# recorded with under 100 MB.
# Cause: snakemake/benchmark.py, ScheduledPeriodicTimer._action (`self._times_called >
# self._interval`) and BENCHMARK_INTERVAL = 30; the kernel's own ru_maxrss is not read.
# Why it matters: a training saves, validates and samples in bursts of seconds. mem_mb taken from
# its benchmark file is too small by the whole burst, and the cluster ends the job for lack of
# memory.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
  snakemake==9.27.1
cat > hold.py <<'PYTHON'
import sys
import time

before, held, after = map(float, sys.argv[1:])
time.sleep(before)
memory = bytearray(600 * 10**6)
time.sleep(held)
del memory
time.sleep(after)
PYTHON
cat > Snakefile <<'SNAKEFILE'
rule all:
    input: "early.txt", "late.txt"
rule early:
    output: "early.txt"
    benchmark: "early.tsv"
    shell: "python3 hold.py 2 4 1 && touch {output}"
rule late:
    output: "late.txt"
    benchmark: "late.tsv"
    shell: "python3 hold.py 20 8 4 && touch {output}"
SNAKEFILE
venv/bin/snakemake --cores 2 --quiet all
venv/bin/python - <<'PYTHON'
import csv
import sys
from importlib.metadata import version
from pathlib import Path


def peak(name):
    return float(next(csv.DictReader(Path(name).open(), delimiter="\t"))["max_rss"])


early, late = peak("early.tsv"), peak("late.tsv")
print("snakemake", version("snakemake"))
print(f"600 MB held from second 2 to 6: max_rss {early:.0f} MB")
print(f"600 MB held from second 20 to 28: max_rss {late:.0f} MB")
if not (early > 500 and late < 300):
    sys.exit("changed: the benchmark file sees a peak of 8 s after the first 15 s")
PYTHON
