#!/usr/bin/env bash
# Guess: MONAI's DDPMScheduler with set_timesteps(50) samples in 50 steps, with a small error, as
# its DDIMScheduler and diffusers' DDPMScheduler do.
# What happens (monai 1.6.1): each step removes the noise of one training timestep, however far
# apart the chosen timesteps are. With an exact model of data with deviation 0.2, 50 steps end at
# 0.86 and 20 steps at 0.94: nearly pure noise. Only set_timesteps(1000) is right; no warning.
# Cause: monai/networks/schedulers/ddpm.py, DDPMScheduler.step and _get_variance read
# alphas_cumprod[timestep - 1] and betas[timestep], where the previous chosen timestep is meant.
# Why it matters: volumes take minutes for 1,000 steps, so that 50 to 250 are what people set; the
# noise looks like a network that has not been trained enough.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
  monai==1.6.1 torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import monai
import torch
from monai.networks.schedulers import DDIMScheduler, DDPMScheduler

deviation = 0.2


def sampled_deviation(scheduler, steps):
    """Sample N(0, deviation^2) with the exact noise prediction of that distribution."""
    torch.manual_seed(0)
    scheduler.set_timesteps(steps)
    x = torch.randn(5000, 1, 1, 1)
    for t in scheduler.timesteps:
        signal = scheduler.alphas_cumprod[t]
        noise = (1 - signal).sqrt() * x / (signal * deviation**2 + 1 - signal)
        x, _ = scheduler.step(noise, int(t), x)
    return x.std().item()


print("monai", monai.__version__, "torch", torch.__version__, "the data's deviation:", deviation)
ddpm, ddim = {}, {}
for steps in (1000, 250, 50, 20):
    options = {"num_train_timesteps": 1000, "clip_sample": False}
    ddpm[steps] = sampled_deviation(DDPMScheduler(**options), steps)
    ddim[steps] = sampled_deviation(DDIMScheduler(**options), steps)
    print(f"{steps} steps: DDPM {ddpm[steps]:.3f}, DDIM {ddim[steps]:.3f}")
if not (abs(ddpm[1000] - deviation) < 0.02 and ddpm[50] > 0.7 and ddim[50] < 0.25):
    sys.exit("changed: MONAI's DDPMScheduler samples with fewer steps")
PYTHON
