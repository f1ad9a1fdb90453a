#!/usr/bin/env bash
# Guess: FlopCounterMode counts scaled_dot_product_attention; its registry names it, and attention
# is what it is used for.
# What happens (torch 2.13.0 and 2.14.1): on the CPU attention counts 0, forward and backward, and
# a TransformerEncoderLayer or MultiheadAttention in eval mode counts 0 as a whole, projections
# included. In training mode the layer counts its projections, and attention only where dropout
# forces the unfused path.
# Cause: torch/utils/flop_counter.py: flop_registry has the flash, efficient and cuDNN kernels,
# but not aten._scaled_dot_product_flash_attention_for_cpu, nor
# aten._transformer_encoder_layer_fwd and aten._native_multi_head_attention (the fast path).
# Why it matters: FLOPs of a DiT counted on a laptop or a login node are too few by the
# attention's share, which grows with the number of tokens; the MFU made of them as well. On the
# device meta, or under sdpa_kernel(SDPBackend.MATH), it is counted.
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
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def flops(function):
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


batch, heads, tokens, size = 2, 4, 256, 32
q = torch.randn(batch, heads, tokens, size, requires_grad=True)
forward = flops(lambda: F.scaled_dot_product_attention(q, q, q))
backward = flops(lambda: F.scaled_dot_product_attention(q, q, q).sum().backward())
by_hand = flops(lambda: (q @ q.mT).softmax(-1) @ q)
layer = nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, batch_first=True)
x = torch.randn(batch, tokens, 128)
training = flops(lambda: layer(x))
with torch.no_grad():
    evaluation = flops(lambda: layer.eval()(x))
projections = 2 * batch * tokens * 128 * (3 * 128 + 128 + 2 * 512)
print("torch", torch.__version__)
print(f"attention by two matrix products: {by_hand}; fused: {forward}, with backward {backward}")
print(f"encoder layer: training {training}, eval {evaluation}, its linear layers {projections}")
if not (by_hand > 0 and forward == backward == evaluation == 0 and training == projections):
    sys.exit("changed: FlopCounterMode counts attention on the CPU")
PYTHON
