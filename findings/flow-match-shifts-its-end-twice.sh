#!/usr/bin/env bash
# Guess: FlowMatchEulerDiscreteScheduler(shift=3) maps each sigma of the even grid once by 3 sigma
# / (1 + 2 sigma) (Esser et al. 2024); the last one, 1/1000, becomes 0.003.
# What happens (diffusers 0.42.1): the smallest sigma is shifted in __init__, set_timesteps takes
# it as the end of its grid and shifts it again: 0.0089. All inner sigmas are off as well, most at
# few steps; with sigmas=numpy.linspace(1, 1 / steps, steps), as the pipelines pass them, the
# shift is made once.
# Cause: diffusers/schedulers/scheduling_flow_match_euler_discrete.py: self.sigma_min in __init__
# is of shifted sigmas, set_timesteps begins its linspace there.
# Why it matters: the scheduler called alone and the same scheduler in a pipeline sample on two
# schedules. Scores of the two at equal steps are not the same experiment.
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
import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler


def shifted(sigma, shift):
    return shift * sigma / (1 + (shift - 1) * sigma)


print("diffusers", diffusers.__version__, "torch", torch.__version__)
ends = {}
for shift in (1.0, 3.0, 6.0):
    alone, piped = (FlowMatchEulerDiscreteScheduler(shift=shift) for _ in range(2))
    alone.set_timesteps(4)
    once = shifted(np.linspace(1, 1e-3, 4), shift)
    piped.set_timesteps(sigmas=np.linspace(1, 1 / 4, 4))
    ends[shift] = float(alone.sigmas[-2])
    print(f"shift {shift}: set_timesteps(4) {alone.sigmas.numpy().round(4)}")
    print(f"  the even grid shifted once {once.round(4)}, as pipelines {piped.sigmas.numpy()}")
    twice = shifted(shifted(1e-3, shift), shift)
    print(f"  last sigma {ends[shift]:.5f}, once {once[-1]:.5f}, twice {twice:.5f}")
    if not np.isclose(ends[shift], twice, rtol=1e-3):
        sys.exit("changed: the smallest sigma is no longer shifted twice")
PYTHON
