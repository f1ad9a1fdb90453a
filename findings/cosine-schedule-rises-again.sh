#!/usr/bin/env bash
# Guess: after num_training_steps get_cosine_schedule_with_warmup stays at 0, as the linear and
# polynomial schedules beside it do.
# What happens (diffusers 0.42.1, the same formula in transformers): it climbs back along the
# cosine and reaches the full learning rate after as many steps again. A training that is
# prolonged from 100 to 190 steps ends at the largest learning rate that it ever had.
# Cause: diffusers/optimization.py, get_cosine_schedule_with_warmup: progress is not bounded by 1,
# and cos(pi * progress) is periodic.
# Why it matters: with accelerate, which steps a prepared schedule once per process, or with a
# step count in other units than the schedule's, the second half of a run undoes the first.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
  diffusers==0.42.1 torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import diffusers
import torch
from diffusers.optimization import get_scheduler


def rates(name, steps):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = get_scheduler(name, optimizer, num_warmup_steps=10, num_training_steps=100)
    found = []
    for _ in range(steps):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


print("diffusers", diffusers.__version__, "torch", torch.__version__)
found = {}
for name in ("cosine", "linear", "polynomial", "cosine_with_restarts"):
    found[name] = rates(name, 200)
    shown = {step: round(found[name][step], 3) for step in (10, 55, 99, 120, 150, 190)}
    print(f"{name}, made for 100 steps, at step: {shown}")
if not (found["cosine"][99] < 0.001 and found["cosine"][190] > 0.99 and found["linear"][190] == 0):
    sys.exit("changed: the cosine schedule stays at its end")
PYTHON
