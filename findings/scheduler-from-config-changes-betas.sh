#!/usr/bin/env bash
# Guess: HeunDiscreteScheduler.from_config(DDPMScheduler().config) samples with the schedule that
# the model was trained with; that is what from_config is for.
# What happens (diffusers 0.42.1): values that stood at their default are not handed on, and the
# new class takes its own defaults: beta_end 0.02 becomes 0.012 and beta_start 1e-4 becomes
# 8.5e-4. The same 0.02 written out by hand is handed on. The end of the schedule has 39 times the
# signal.
# Cause: diffusers/configuration_utils.py, extract_init_dict drops the keys in
# _use_default_values.
# Why it matters: a model trained with DDPMScheduler() as in the training examples is sampled by
# Heun, KDPM2 or LCM with another beta schedule, the samples are washed out, and the sampler is
# blamed. Write every beta of a training scheduler out.
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
from diffusers import DDPMScheduler, HeunDiscreteScheduler, PNDMScheduler


def betas(scheduler):
    return scheduler.config.beta_start, scheduler.config.beta_end


defaults, written = DDPMScheduler(), DDPMScheduler(beta_start=1e-4, beta_end=0.02)
print("diffusers", diffusers.__version__, "torch", torch.__version__)
print("two equal training schedules:", betas(defaults), betas(written))
by_default = HeunDiscreteScheduler.from_config(defaults.config)
by_hand = HeunDiscreteScheduler.from_config(written.config)
print("Heun from the first:", betas(by_default), "from the second:", betas(by_hand))
print("PNDM from the first:", betas(PNDMScheduler.from_config(defaults.config)))
ends = [float(s.alphas_cumprod[-1]) for s in (defaults, by_default)]
print("signal left at the last timestep: trained with", ends[0], "sampled with", ends[1])
same = torch.equal(defaults.alphas_cumprod, written.alphas_cumprod)
if not (same and betas(by_default) == (0.00085, 0.012) and betas(by_hand) == (1e-4, 0.02)):
    sys.exit("changed: from_config hands on values that stand at their default")
PYTHON
