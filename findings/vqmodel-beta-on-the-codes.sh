#!/usr/bin/env bash
# Guess: VQModel's commitment weight, beta = 0.25, multiplies the term that pulls the encoder to
# the codes (van den Oord et al. 2017, eq. 3): the encoder gets 0.25, the codes get 1.
# What happens (diffusers 0.42.1): the other way round. The encoder is pulled with weight 1, the
# codes follow with 0.25; a larger beta moves the codes faster and the encoder not at all.
# Cause: diffusers/models/autoencoders/vq_model.py, VectorQuantizer(legacy=True), the default,
# which VQModel does not change; kept for the checkpoints of taming-transformers, which had it
# swapped.
# Why it matters: a VQ-VAE trained with VQModel commits four times as hard as the paper's, codes
# lag behind and die, and a sweep over beta turns another knob than the paper's.
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
from diffusers import VQModel
from diffusers.models.autoencoders.vq_model import VectorQuantizer


def weights(beta, **options):
    """Weights of encoder and codes in the gradient of the loss, each against plain MSE's."""
    torch.manual_seed(0)
    quantizer = VectorQuantizer(16, 4, beta=beta, **options)
    z = torch.randn(1, 4, 4, 4, requires_grad=True)
    quantized, loss, (_, _, indices) = quantizer(z)
    loss.backward()
    difference = (z - quantized).detach() * 2 / z.numel()
    encoder = (z.grad / difference).mean().item()
    rows = -difference.permute(0, 2, 3, 1).reshape(-1, 4)
    plain = torch.zeros(16, 4).index_add(0, indices.flatten(), rows)
    used = plain.abs() > 1e-6
    return encoder, (quantizer.embedding.weight.grad[used] / plain[used]).mean().item()


small = {"num_vq_embeddings": 16, "norm_num_groups": 4, "block_out_channels": (8,)}
print("diffusers", diffusers.__version__, "torch", torch.__version__)
print("VQModel: legacy", VQModel(**small).quantize.legacy)
found = {beta: weights(beta) for beta in (0.25, 1.0, 4.0)}
for beta, (encoder, codes) in found.items():
    print(f"beta {beta}: weight of the encoder's term {encoder:.2f}, of the codes' {codes:.2f}")
published = weights(0.25, legacy=False)
print("legacy=False, beta 0.25:", [round(value, 2) for value in published])
if not (abs(found[0.25][0] - 1) < 1e-3 and abs(published[0] - 0.25) < 1e-3):
    sys.exit("changed: VQModel's beta weights the commitment of the encoder")
PYTHON
