"""Replicated models: each process holds the whole model (DistributedDataParallel; Li et al. 2020).

Gradients are sent in full, in 16 bits, or as low-rank factors (PowerSGD, Vogels et al. 2019).
"""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState, powerSGD_hook
from torch.nn.parallel import DistributedDataParallel

from ddpm_bench.config.benchmark import STEPS_BEFORE_COMPRESSION, CellStage
from ddpm_bench.planning.benchmark_cells import UnsupportedError
from ddpm_bench.throughput.strategies.trainers import placed

# For PowerSGD's orthogonalisation: a gradient that is zero everywhere stays zero, not NaN.
POWERSGD_EPSILON = 1e-8
ONE_BUCKET_MB = 2**20  # size of DDP's buckets, larger than any model


def replicated(stage: CellStage, model: nn.Module, device: torch.device) -> DistributedDataParallel:
    """Wrap the model in DistributedDataParallel, with the strategy's compression of gradients.

    Raises UnsupportedError where the backend or the precision does not allow that compression.
    """
    strategy, gloo = stage.cell.strategy, dist.get_backend() == "gloo"
    if strategy == "ddp-bf16" and dist.get_backend() != "nccl":
        raise UnsupportedError(
            "ddp-bf16 needs NCCL, which torch's bf16_compress_hook is made for, and so GPUs; on "
            "CPUs take ddp-fp16"
        )
    if strategy == "powersgd" and stage.cell.precision == "fp16":
        raise UnsupportedError(
            "powersgd carries over what it left out of each gradient, and under the loss scaling "
            "of fp16 an overflow would stay in it for ever; take bf16"
        )
    # PowerSGD begins further all-reduces in gloo's threads as earlier ones end. With a second
    # bucket under way, processes begin them in different orders: one is mistaken for another, or
    # all wait for ever.

    one_bucket = {"bucket_cap_mb": ONE_BUCKET_MB} if strategy == "powersgd" and gloo else {}
    devices = None if device.type == "cpu" else [device]
    model = placed(stage, model, device)
    wrapped = DistributedDataParallel(model, device_ids=devices, **one_bucket)
    if strategy == "ddp-fp16":
        wrapped.register_comm_hook(None, default_hooks.fp16_compress_hook)
    elif strategy == "ddp-bf16":
        wrapped.register_comm_hook(None, default_hooks.bf16_compress_hook)
    elif strategy == "powersgd":
        state = PowerSGDState(
            process_group=None,
            matrix_approximation_rank=stage.measuring.powersgd_rank,
            start_powerSGD_iter=STEPS_BEFORE_COMPRESSION,
            orthogonalization_epsilon=POWERSGD_EPSILON,
        )
        wrapped.register_comm_hook(state, powerSGD_hook)
    return wrapped
