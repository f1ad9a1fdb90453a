#!/usr/bin/env bash
# Guess: torch.autocast casts each weight to bfloat16 where it is used, so that a forward pass
# sees the weights as they are.
# What happens (torch 2.13.0 and 2.14.1): within one autocast region the cast copy is kept until
# the region ends. Weights changed inside it (an optimiser step, an EMA swapped in, LoRA merged)
# are not seen: with the whole training loop in one `with torch.autocast`, the optimiser runs, the
# weights move, and the loss stays where it was to the last digit.
# Cause: aten/src/ATen/autocast_mode.cpp, cached_cast: copies are keyed by the tensor, not by its
# version; cleared at the end of the outermost region.
# Why it matters: one indentation decides whether anything is trained, and validation with
# swapped-in averages inside the region scores the old weights. cache_enabled=False, or a region
# per forward pass.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
  torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import contextlib
import sys

import torch


def train(around_loop, around_step):
    torch.manual_seed(0)
    model = torch.nn.Linear(8, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    x = torch.randn(64, 8)
    y = x.sum(1, keepdim=True)
    losses = []
    with around_loop():
        for _ in range(50):
            with around_step():
                loss = (model(x).float() - y).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


def autocast(**options):
    return lambda: torch.autocast("cpu", torch.bfloat16, **options)


none = contextlib.nullcontext
outside = train(autocast(), none)
inside = train(none, autocast())
uncached = train(autocast(cache_enabled=False), none)
print("torch", torch.__version__)
print(f"autocast around the forward pass: loss {inside[0]:.4f} to {inside[-1]:.4f}")
different = len(set(outside))
print(f"around the loop: {outside[0]:.4f} to {outside[-1]:.4f}, {different} different losses")
print(f"around the loop with cache_enabled=False: {uncached[0]:.4f} to {uncached[-1]:.4f}")
learnt = inside[-1] < 0.1 * inside[0] and uncached[-1] < 0.1 * uncached[0]
if not (len(set(outside)) == 1 and learnt):
    sys.exit("changed: autocast sees weights that were changed inside its region")
PYTHON
