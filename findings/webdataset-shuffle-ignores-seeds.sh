#!/usr/bin/env bash
# Guess: after random.seed, numpy.random.seed and WebDataset(..., seed=3) the samples come in the
# same order in every run.
# What happens (webdataset 1.0.2): `.shuffle(1000)` seeds a generator of its own from the process
# id and the clock. Three seeds set, two orders. `seed=` of WebDataset orders shards only. Beyond
# that the buffer starts to give samples at 100, not 1000: of 10,000 samples in order, the first
# batch of 64 holds none beyond the first few hundred.
# Cause: webdataset/filters.py, `_shuffle(data, bufsize, initial=100, rng=None, seed=None)`.
# Why it matters: a resumed or repeated training reads another order with no way to see it, and
# the first steps see the head of a sorted shard. `.shuffle(1000, seed=3, initial=1000)` cures
# both.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
  webdataset==1.0.2 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import random
import sys
from importlib.metadata import version

import numpy as np
import webdataset

with webdataset.TarWriter("shard.tar") as shard:
    for number in range(10_000):
        shard.write({"__key__": f"{number:06d}", "cls": number})


def order(**options):
    random.seed(3)
    np.random.seed(3)
    shards = webdataset.WebDataset("shard.tar", shardshuffle=False, seed=3)
    return [sample["cls"] for sample in shards.shuffle(1000, **options).decode()]


first, second = order(), order()
seeded = order(seed=3, initial=1000)
print("webdataset", version("webdataset"))
print("two runs, seeds set outside:", first[:6], second[:6])
print("largest number in the first 64:", max(first[:64]), "with initial=1000:", max(seeded[:64]))
print("two runs with shuffle(seed=3):", seeded == order(seed=3, initial=1000))
if first == second or max(first[:64]) > 500 or seeded != order(seed=3, initial=1000):
    sys.exit("changed: shuffle() follows the seeds that are set, or fills its buffer first")
PYTHON
