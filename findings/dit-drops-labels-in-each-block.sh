#!/usr/bin/env bash
# Guess: diffusers' DiTTransformer2DModel at the settings of DiT-XL/2 is DiT-XL/2: 675 million
# parameters, and in training a label is replaced by the null class for a whole sample, one in
# ten.
# What happens (diffusers 0.42.1): every block has an embedding of time and label of its own (750
# million parameters), and draws its own dropout. Of 28 blocks and the last layer about three see
# the null class and the others the label. No sample is ever fully unconditional (0.1^29), one in
# twenty is fully conditional.
# Cause: diffusers/models/normalization.py, AdaLayerNormZero makes a
# CombinedTimestepLabelEmbeddings per block; models/embeddings.py, LabelEmbedding.token_drop draws
# at each call.
# Why it matters: training it from scratch for classifier-free guidance never shows it the
# unconditional case that guidance subtracts. Set dropout_prob = 0 on every LabelEmbedding and
# give the null class yourself.
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
from diffusers import DiTTransformer2DModel
from diffusers.models.embeddings import LabelEmbedding

with torch.device("meta"):
    xl = DiTTransformer2DModel(
        num_attention_heads=16, attention_head_dim=72, num_layers=28, in_channels=4,
        out_channels=8, sample_size=32, patch_size=2, num_embeds_ada_norm=1000,
    )  # fmt: skip
million = sum(p.numel() for p in xl.parameters()) / 1e6
small = DiTTransformer2DModel(
    num_attention_heads=2, attention_head_dim=8, num_layers=28, in_channels=4,
    out_channels=8, sample_size=8, patch_size=2, num_embeds_ada_norm=10,
).train()  # fmt: skip
seen, drop = [], LabelEmbedding.token_drop


def recorded(self, labels, force_drop_ids=None):
    seen.append(drop(self, labels, force_drop_ids))
    return seen[-1]


LabelEmbedding.token_drop = recorded
torch.manual_seed(0)
samples = 512
with torch.no_grad():
    small(torch.randn(samples, 4, 8, 8), torch.zeros(samples).long(), torch.full((samples,), 3))
null = (torch.stack(seen) == 10).float()
all_null, none_null = (null.mean(0) == 1).sum().item(), (null.mean(0) == 0).sum().item()
print("diffusers", diffusers.__version__, "torch", torch.__version__)
print(f"DiT-XL/2: {million:.1f} million parameters (published: 675)")
print(f"draws per sample: {len(seen)}, share of null labels: {null.mean():.3f}")
print(f"of {samples} samples: {all_null} without label everywhere, {none_null} with it everywhere")
if not (million > 740 and len(seen) == 29 and all_null == 0 and none_null < 0.15 * samples):
    sys.exit("changed: diffusers' DiT draws one label dropout per sample")
PYTHON
