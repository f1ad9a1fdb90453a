#!/usr/bin/env bash
# Guess: with minibatch optimal transport every image of a batch is paired with one noise: the
# exact plan of two equal sets is a permutation.
# What happens (torchcfm 1.0.7): the plan is a permutation, but pairs are drawn from it with
# replacement. 63% of a batch's images (1 - 1/e) are trained on, some of them several times, each
# noise as often. The `sinkhorn` method at its default regularisation falls back to the uniform
# plan, independent pairs, on images as small as 3 x 8 x 8; a warning is all.
# Cause: torchcfm/optimal_transport.py, OTPlanSampler.sample_map(pi, batch_size, replace=True);
# get_map reverts to a uniform plan where exp(-cost / 0.05) underflows.
# Why it matters: batch 256 trains like 162 images with weights, an epoch leaves a third of the
# data out, and OT against no OT compares two batch sizes. Pass replace=False.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
  POT==0.9.7.post1 torchdiffeq==0.2.5 torch==2.13.0 numpy==2.4.6 scipy==1.17.1
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps torchcfm==1.0.7
venv/bin/python - <<'PYTHON'
import sys
import warnings
from importlib.metadata import version

import numpy as np
import torch
from torchcfm.optimal_transport import OTPlanSampler

torch.manual_seed(0)
np.random.seed(0)
noise, images = torch.randn(256, 3, 8, 8), torch.rand(256, 3, 8, 8) * 2 - 1
exact = OTPlanSampler(method="exact")
plan = exact.get_map(noise, images)
permutation = np.allclose(plan.max(0) * 256, 1) and np.allclose(plan.max(1) * 256, 1)
used = []
for _ in range(20):
    _, chosen = exact.sample_map(plan, 256)
    used.append(len(np.unique(chosen)) / 256)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    uniform = OTPlanSampler(method="sinkhorn").get_map(noise, images)
independent = np.allclose(uniform, 1 / 256**2)
print("torchcfm", version("torchcfm"), "POT", version("POT"), "torch", torch.__version__)
print(f"exact plan is a permutation: {permutation}; images of a batch used: {np.mean(used):.3f}")
print("sinkhorn's plan is uniform:", independent, {str(w.message)[:70] for w in caught})
if not (permutation and 0.58 < np.mean(used) < 0.68 and independent):
    sys.exit("changed: OTPlanSampler uses each image once, or sinkhorn couples")
PYTHON
