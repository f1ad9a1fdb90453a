"""Workloads of denoising networks: both U-Nets, as experiments build them."""

import torch
import torch.nn.functional as F
from denoising_diffusion_pytorch import Unet as DenoisingUnet
from torch import nn

from ddpm_bench.config.diffusion import Diffusion
from ddpm_bench.config.networks import Model
from ddpm_bench.models import diffusion
from ddpm_bench.models.denoiser import BLOCKS, build_model
from ddpm_bench.models.randomness import step_draws
from ddpm_bench.throughput.workloads.workload import Workload


def denoiser_workload(network: Model, seed: int, pictures: torch.Tensor) -> Workload:
    """Build a denoising network that predicts the noise in images, at a random time for each.

    The loss is the squared error of the noise (Ho et al. 2020, eq. 14). pictures: float32
    [N, C, H, W] in [-1, 1]. With self-conditioning the network gets no estimate, as in half of the
    steps of a training.
    """
    schedule = diffusion.build_schedule(
        Diffusion(objective="pred_noise", beta_schedule="linear"), torch.device("cpu")
    )
    noise, times = step_draws(seed, 0, pictures.shape, schedule.timesteps, pictures.device)
    noised = diffusion.diffuse(schedule, pictures, times, noise)
    model = build_model(network, pictures.shape[1], seed)
    return Workload(
        model,
        (noised.contiguous(memory_format=torch.channels_last), times),
        noise.contiguous(memory_format=torch.channels_last),
        _squared_error,
        sample="image",
        shards=_blocks(model),
    )


def _blocks(model: nn.Module) -> tuple[nn.Module, ...]:
    """Return the blocks to shard: residual and attention blocks of denoising-diffusion-pytorch's
    U-Net, levels of diffusers'."""
    if isinstance(model, DenoisingUnet):
        return tuple(module for module in model.modules() if isinstance(module, BLOCKS))
    return (*model.down_blocks, model.mid_block, *model.up_blocks)


def _squared_error(prediction: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error in float32."""

    return F.mse_loss(prediction.float(), noise)
