#!/usr/bin/env bash
# Guess: with codes that learn by gradients (learnable_codebook=True, ema_update=False),
# commitment_weight=0.25 weights the term that pulls the encoder to its codes; the term that pulls
# codes to the encoder keeps weight 1 (van den Oord et al. 2017, eq. 3).
# What happens (vector-quantize-pytorch 1.32.0): it weights both. Codes get 0.25, too, and with
# commitment_weight=0 no gradient at all: they stay as they were drawn.
# Cause: vector_quantize_pytorch.py, forward: one mse_loss(commit_quantize, x), whose codes are not
# detached if the codebook is learnable, times commitment_weight. There is no weight for the codes.
# Why it matters: a VQ-VAE "with beta = 0.25" trains its codes at a quarter of the paper's pull,
# and a sweep over beta turns two knobs at once.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
  vector-quantize-pytorch==1.32.0 torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys
from importlib.metadata import version

import torch
from vector_quantize_pytorch import VectorQuantize


def weights(commitment):
    """Weights of encoder and codes in the gradient of the loss, each against plain MSE's."""
    torch.manual_seed(0)
    quantize = VectorQuantize(
        dim=4, codebook_size=16, learnable_codebook=True, ema_update=False,
        commitment_weight=commitment,
    )
    z = torch.randn(1, 256, 4, requires_grad=True)
    _, codes, loss = quantize(z)
    (table,) = quantize.parameters()
    of_encoder, of_codes = torch.autograd.grad(loss.sum(), [z, table], materialize_grads=True)
    away = 2 * (z - table[0][codes]).detach() / z.numel()
    plain = torch.zeros(16, 4).index_add(0, codes.flatten(), -away.flatten(0, 1))
    used = plain.abs() > 1e-6
    return (of_encoder / away).mean().item(), (of_codes[0][used] / plain[used]).mean().item()


print("vector-quantize-pytorch", version("vector-quantize-pytorch"), "torch", torch.__version__)
found = {beta: weights(beta) for beta in (0.0, 0.25, 1.0)}
for beta, (encoder, codes) in found.items():
    print(f"commitment {beta}: weight of the encoder's term {encoder:.2f}, of the codes' {codes:.2f}")
if not (abs(found[0.25][0] - 0.25) < 1e-3 and abs(found[0.25][1] - 0.25) < 1e-3):
    sys.exit("changed: commitment_weight does not weight the codes' term")
PYTHON
