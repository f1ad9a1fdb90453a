#!/usr/bin/env bash
# Guess: after fully_shard, weight.norm().item() and weight.mean().item() are those of the whole
# weight, or raise; the clipped gradient norm beside them is global.
# What happens (torch 2.13.0 and 2.14.1): the result is a DTensor whose sum is still to be made,
# and .item() quietly gives this rank's part: norm 2.3 on one rank and 2.4 on the other where the
# weight's is 3.3; means of other sign. clip_grad_norm_ gives the right value with the same
# .item().
# Cause: torch/distributed/tensor: reductions end in a Partial or _NormPartial placement, and
# .item() reads the local tensor.
# Why it matters: logs of weight norms, EMA distances and stopping rules go wrong by a factor of
# the square root of the number of GPUs when sharding is turned on, and differ from rank to rank.
# weight.norm().full_tensor().item() is right.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
  torch==2.13.0 numpy==2.4.6
cat > norms.py <<'PYTHON'
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

dist.init_process_group("gloo")
mesh = init_device_mesh("cpu", (2,))
torch.manual_seed(0)
layer = nn.Linear(16, 32)
whole = layer.weight.detach().clone()
x = torch.randn(4, 16)
fully_shard(layer, mesh=mesh)
layer(x).square().mean().backward()
weight = layer.weight
norm, mean = weight.norm(), weight.mean()
clipped = torch.nn.utils.clip_grad_norm_(layer.parameters(), 1e9)
row = {
    "placement": str(norm.placements[0]),
    "norm": [round(v, 4) for v in (norm.item(), norm.full_tensor().item(), whole.norm().item())],
    "mean": [round(v, 5) for v in (mean.item(), mean.full_tensor().item(), whole.mean().item())],
    "clip_grad_norm_": [round(v, 4) for v in (clipped.item(), clipped.full_tensor().item())],
}
rows = [None, None]
dist.all_gather_object(rows, row)
if dist.get_rank() == 0:
    print("torch", torch.__version__, "as [.item(), .full_tensor().item(), unsharded]:")
    print(*(f"rank {rank}: {row}" for rank, row in enumerate(rows)), sep="\n")
dist.destroy_process_group()
local = all(r["norm"][0] < 0.9 * r["norm"][2] and r["norm"][1] == r["norm"][2] for r in rows)
clipped_right = len(set(row["clip_grad_norm_"])) == 1
if not (local and rows[0]["norm"][0] != rows[1]["norm"][0] and clipped_right):
    sys.exit("changed: .item() of a sharded weight's norm is global")
PYTHON
OMP_NUM_THREADS=1 venv/bin/torchrun --standalone --nproc-per-node 2 norms.py
