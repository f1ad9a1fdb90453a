#!/usr/bin/env bash
# Guess: the memorisation-informed FID punishes a generator that hands back its training images:
# an exact copy gets a bad score.
# What happens (torchmetrics 1.9.0): FID is divided by the (small) cosine distance to the training
# set, and 0 divided by anything is 0. An exact copy of the training set gets 0.0, the best value
# there is, and a set of which half is copied is better than honest samples of the same
# distribution.
# Cause: torchmetrics/image/mifid.py, _mifid_compute: FID / distance, and 0 where FID is below
# 1e-8.
# Why it matters: MIFID is read as a test for memorising. It only is one among sets of equal FID;
# report the share of copies by itself.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
  torchmetrics==1.9.0 scipy==1.17.1 torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import torch
import torchmetrics
from torchmetrics.image.mifid import MemorizationInformedFrechetInceptionDistance


class Network(torch.nn.Module):
    num_features = 16

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.linear = torch.nn.Linear(3 * 8 * 8, 16)

    def forward(self, x):
        return torch.relu(self.linear(x.float().flatten(1) / 255))


def draw(seed, count):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 200, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)


training = draw(0, 1000)
sets = {
    "exact copy": training,
    "half copied, half honest": torch.cat([training[:500], draw(1, 500)]),
    "honest": draw(2, 1000),
    "honest, 20 grey levels brighter": draw(3, 1000) + 20,
}
print("torchmetrics", torchmetrics.__version__, "torch", torch.__version__)
scores = {}
for name, samples in sets.items():
    metric = MemorizationInformedFrechetInceptionDistance(feature=Network())
    metric.update(training, real=True)
    metric.update(samples, real=False)
    scores[name] = float(metric.compute())
    print(f"{name}: MIFID {scores[name]:.5f}")
if not (scores["exact copy"] < 1e-6 and scores["half copied, half honest"] < scores["honest"]):
    sys.exit("changed: MIFID of an exact copy of the training set is no longer the best")
PYTHON
