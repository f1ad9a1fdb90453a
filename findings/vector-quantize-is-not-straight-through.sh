#!/usr/bin/env bash
# Guess: VectorQuantize copies the gradient of the codes to the encoder (straight through, van den
# Oord et al. 2017), as its README's reference to that paper has it.
# What happens (vector-quantize-pytorch 1.32.0): by default it is rotated and scaled per vector by
# the rotation trick (Fifty et al. 2024), which no argument of the call names. The gradient that
# reaches the encoder differs from the straight-through one by 0.9 of its size, in direction and
# length.
# Cause: vector_quantize_pytorch.py, __init__: rotation_trick = default(rotation_trick, dim > 1
# and not directional_reparam). The default has changed between releases.
# Why it matters: a VQ-VAE "as published" is another method since an upgrade of the package, and
# results before and after it do not compare. rotation_trick=False, straight-through, must be
# written.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
  vector-quantize-pytorch==1.32.0 torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import inspect
import sys
from importlib.metadata import version

import torch
from vector_quantize_pytorch import VectorQuantize


def gradients(**options):
    """Gradient that reaches the encoder, and the one that reaches the codes."""
    torch.manual_seed(0)
    quantize = VectorQuantize(dim=8, codebook_size=64, **options)
    x = torch.randn(1, 256, 8, requires_grad=True)
    quantized, _, _ = quantize(x)
    above = torch.randn_like(quantized)
    (gradient,) = torch.autograd.grad((quantized * above).sum(), x)
    return gradient, above


print("vector-quantize-pytorch", version("vector-quantize-pytorch"), "torch", torch.__version__)
print("signature:", inspect.signature(VectorQuantize).parameters["rotation_trick"])
apart = {}
for name, options in {"default": {}, "rotation_trick=False": {"rotation_trick": False}}.items():
    gradient, above = gradients(**options)
    apart[name] = ((gradient - above).norm() / above.norm()).item()
    cosine = torch.cosine_similarity(gradient, above, dim=-1).mean().item()
    print(f"{name}: relative distance from straight-through {apart[name]:.3f}, cosine {cosine:.3f}")
if not (apart["default"] > 0.1 and apart["rotation_trick=False"] < 1e-6):
    sys.exit("changed: VectorQuantize is straight-through by default")
PYTHON
