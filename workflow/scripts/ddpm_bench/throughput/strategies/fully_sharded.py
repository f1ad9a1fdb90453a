"""Fully sharded models: each process holds a shard of every weight (torch's fully_shard; Zhao et
al. 2023, PyTorch FSDP)."""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.modules.batchnorm import _BatchNorm

from ddpm_bench.config.benchmark import CellStage
from ddpm_bench.throughput.strategies.trainers import LOW_PRECISION, placed
from ddpm_bench.throughput.workloads.workload import Workload


def sharded(stage: CellStage, workload: Workload, device: torch.device) -> nn.Module:
    """Shard every weight of the model over the processes and return the model.

    Each block of `workload.shards`, and the rest of the model, is gathered while it is computed; in
    16 bits if it is computed in 16 bits.
    """
    model = placed(stage, workload.model, device)
    with_batch_norm = any(isinstance(module, _BatchNorm) for module in model.modules())
    # BatchNorm keeps its weights and statistics in 32 bits: models with it are gathered in 32 bits,
    # and autocast alone computes in 16. Inputs are not cast here: autocast casts where it should.

    policy = MixedPrecisionPolicy(
        param_dtype=None if with_batch_norm else LOW_PRECISION.get(stage.cell.precision),
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,
    )
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for module in (*workload.shards, model):
        fully_shard(module, mesh=mesh, mp_policy=policy)
    return model
