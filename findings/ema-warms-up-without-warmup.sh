#!/usr/bin/env bash
# Guess: EMAModel(decay=0.9999) with use_ema_warmup=False, its default, averages with decay 0.9999
# from the first step.
# What happens (diffusers 0.42.1): False chooses another warm-up, (1 + step) / (10 + step). The
# decay is 0.991 after 1,000 steps, 0.9991 after 10,000 and reaches 0.9999 only after 89,990. Only
# min_decay=0.9999 is constant.
# Cause: diffusers/training_utils.py, EMAModel.get_decay.
# Why it matters: in a training of 9,000 steps the average lags by 900 steps, whatever decay was
# set, so that 0.9999, 0.9995 and 0.99999 give the same weights and a sweep over them shows
# nothing.
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
from diffusers.training_utils import EMAModel


def average(decay, steps=9_000, **options):
    """Average of a weight that equals the step's number, after `steps` steps; last decay."""
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    ema = EMAModel([weight], decay=decay, **options)
    for step in range(1, steps + 1):
        weight.data.fill_(float(step))
        ema.step([weight])
    return ema.shadow_params[0].item(), ema.cur_decay_value


print("diffusers", diffusers.__version__, "torch", torch.__version__)
sweep = {decay: average(decay) for decay in (0.9995, 0.9999, 0.99999)}
for decay, (value, last) in sweep.items():
    print(f"decay {decay}: average of 1..9000 {value:.2f}, decay at the end {last:.6f}")
warm, constant = average(0.9999, use_ema_warmup=True), average(0.9999, min_decay=0.9999)
print(f"use_ema_warmup=True: {warm[0]:.2f}, {warm[1]:.6f}; min_decay=0.9999: {constant[0]:.2f}")
values = [value for value, _ in sweep.values()]
if not (max(values) - min(values) < 1e-6 and constant[0] < 0.7 * values[0]):
    sys.exit("changed: use_ema_warmup=False averages with the decay that was set")
PYTHON
