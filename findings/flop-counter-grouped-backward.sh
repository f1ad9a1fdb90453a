#!/usr/bin/env bash
# Guess: the backward pass of a convolution counts twice its forward pass, whatever its groups.
# What happens (torch 2.13.0 and 2.14.1): FlopCounterMode ignores groups for the gradient of the
# weight (transposed shapes have all channels on both sides). Forward and backward of a depthwise
# convolution with 128 channels count 130 times the forward pass, instead of 3; with 32 groups 34
# times.
# Cause: torch/utils/flop_counter.py, conv_backward_flop receives _groups and does not use it.
# Why it matters: networks with depthwise or grouped convolutions (ConvNeXt-like U-Nets, the
# mix-FFN of SANA and linear DiTs) get FLOPs of a training step, and an MFU, many times too high.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
  torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def flops(function):
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


print("torch", torch.__version__)
ratios = {}
for groups in (1, 4, 32, 128):
    convolution = nn.Conv2d(128, 128, 3, padding=1, groups=groups)
    x = torch.randn(2, 128, 16, 16, requires_grad=True)
    forward = flops(lambda: convolution(x))
    both = flops(lambda: convolution(x).sum().backward())
    true = 2 * 2 * 16 * 16 * 128 * (128 // groups) * 9
    ratios[groups] = both / forward
    print(f"{groups} groups: forward {forward} (true {true}), with backward x {ratios[groups]:.0f}")
    if forward != true:
        sys.exit("changed: the forward pass is counted otherwise")
if not (ratios[1] == 3 and ratios[128] > 100):
    sys.exit("changed: the backward pass of grouped convolutions is counted with its groups")
PYTHON
