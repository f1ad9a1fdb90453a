#!/usr/bin/env bash
# Guess: repeating a dataset's images (an augmented copy, a class balanced by repetition) changes
# precision, recall, density and coverage little.
# What happens (prdc 0.2): each image's neighbourhood is the distance to its k-th neighbour. Where
# every image occurs more than k times that is 0, nothing lies strictly within 0, and precision,
# density and coverage of good samples are 0. With copies of the generated set, recall is 0 in the
# same way.
# Cause: prdc/prdc.py, compute_nearest_neighbour_distances (copies count as neighbours) and the
# strict comparison in compute_prdc.
# Why it matters: classes balanced by repetition, datasets of video frames and generators that
# repeat themselves give a number between the truth and 0 with no sign of it. Count distinct
# images first.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
  prdc==0.2 numpy==2.4.6 scikit-learn==1.9.1 scipy==1.17.1
venv/bin/python - <<'PYTHON'
import contextlib
import io
import sys
from importlib.metadata import version

import numpy as np
from prdc import compute_prdc

random = np.random.default_rng(0)
real, samples = random.normal(size=(500, 16)), random.normal(size=(500, 16))


def scores(real, samples):
    with contextlib.redirect_stdout(io.StringIO()):
        result = compute_prdc(real, samples, nearest_k=5)
    return {name: round(float(value), 3) for name, value in result.items()}


print("prdc", version("prdc"))
results = {times: scores(np.repeat(real, times, 0), samples) for times in (1, 2, 6)}
for times, result in results.items():
    print(f"each real image {times} times:", result)
repeated_samples = scores(real, np.repeat(samples, 6, 0))
print("each sample 6 times:", repeated_samples)
honest = results[1]
if not (honest["precision"] > 0.8 and results[6]["precision"] == results[6]["coverage"] == 0):
    sys.exit("changed: prdc gives repeated images a neighbourhood")
if repeated_samples["recall"] != 0:
    sys.exit("changed: prdc gives repeated samples a neighbourhood")
PYTHON
