#!/usr/bin/env bash
# Guess: torch.cdist(x, x) has zeros on its diagonal, and small distances are as exact as large
# ones; the result for two rows does not depend on how many other rows there are.
# What happens (torch 2.13.0 and 2.14.1): with more than 25 rows on a side it takes |a|^2 + |b|^2
# - 2ab, which cancels. In 2,048 dimensions of the size of Inception's features a true distance of
# 0.00045 comes out as anything from 0 to 0.02 (40 times too large), differently for each row;
# with 25 rows all is right.
# Cause: aten/src/ATen/native/Distance.cpp, mode use_mm_for_euclid_dist_if_necessary.
# Why it matters: nearest training images, memorised shares, precision and recall, coverage: near
# copies are what they look for. Thresholds on small distances read rounding noise.
# compute_mode="donot_use_mm_for_euclid_dist" or float64 for the nearest ones.
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
features = torch.relu(torch.randn(2000, 2048)) * 0.4 + 0.3
near = features[:50] + 1e-5
true = (near - features[:50]).double().norm(dim=1)
exact = "donot_use_mm_for_euclid_dist"


def nearest(rows, others, mode="use_mm_for_euclid_dist_if_necessary"):
    return torch.cdist(near[:rows], features[:others], compute_mode=mode).min(1).values


few, many, plain = nearest(25, 25), nearest(50, 2000), nearest(50, 2000, exact)
print("torch", torch.__version__, "true distance of every near copy:", round(true.mean().item(), 6))
print("25 rows against 25:", few.min().item(), "to", few.max().item())
print("50 rows against 2000:", many.min().item(), "to", many.max().item())
print("50 against 2000 with", exact + ":", plain.min().item(), "to", plain.max().item())
error = ((many - true).abs() / true).max().item()
right = max(((few - true[:25]).abs() / true[:25]).max(), ((plain - true).abs() / true).max()).item()
print(f"largest relative error: {error:.1f} against {right:.4f}")
if not (error > 0.5 and right < 0.05):
    sys.exit("changed: cdist's small distances are exact with more than 25 rows")
PYTHON
