#!/usr/bin/env bash
# Guess: Muon's update is the orthogonal factor of the gradient: a gradient of rank 2 moves the
# matrix in 2 directions, and a reordering of the computation changes it by rounding only.
# What happens (torch 2.13.0 and 2.14.1, torch.optim.Muon): the iteration runs in bfloat16 and
# multiplies small singular values by 3.4 in each of five rounds, so that rounding errors of 1/500
# grow to the size of the update. For a 64 x 64 gradient of rank 2 it has 54 directions, and 41%
# of its energy lies outside the gradient's row and column spaces (17% at 1024 x 1024 and rank
# 16). The same iteration in float64 keeps the rank, and the two differ by 40 to 70%.
# Cause: torch/optim/_muon.py, _zeropower_via_newtonschulz: ortho_grad = grad.bfloat16().
# Why it matters: small batches, zero-initialised layers and adaLN matrices have gradients of low
# rank. There Muon adds a random walk, and shards, ranks or devices that round differently take
# another walk: resumed elsewhere, a training agrees to 1e-1, not 1e-3.
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

torch.manual_seed(0)


def muon(gradient):
    weight = torch.nn.Parameter(torch.zeros_like(gradient))
    weight.grad = gradient.clone()
    torch.optim.Muon([weight], lr=1.0, weight_decay=0.0).step()
    return -weight.detach().double()


def in_float64(gradient):
    x = gradient.double() / gradient.double().norm()
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.775 * a + 2.0315 * a @ a) @ x
    return x


def outside(update, gradient, rank):
    """Share of the update's energy outside the gradient's column and row spaces."""
    u, _, v = torch.linalg.svd(gradient.double())
    u, v = u[:, :rank], v[:rank]
    inside = u @ (u.T @ update @ v.T) @ v
    return ((update - inside).norm() ** 2 / update.norm() ** 2).item()


print("torch", torch.__version__)
shares = []
for size, rank in ((64, 2), (256, 4), (1024, 16)):
    gradient = torch.randn(size, rank) @ torch.randn(rank, size)
    update, exact = muon(gradient), in_float64(gradient)
    shares.append(outside(update, gradient, rank))
    values = torch.linalg.svdvals(update)
    moved = (values > 0.01 * values[0]).sum().item()
    unit, unit_exact = update / update.norm(), exact / exact.norm()
    print(f"{size} x {size}, rank {rank}: {shares[-1]:.0%} of energy outside, {moved} directions")
    apart = (unit - unit_exact).norm()
    print(f"  in float64: {outside(exact, gradient, rank):.1e}; the two are {apart:.2f} apart")
if min(shares) < 0.1:
    sys.exit("changed: Muon's update stays in the gradient's row and column spaces")
PYTHON
