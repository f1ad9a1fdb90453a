"""The denoising network, built from its keys."""

import torch
from denoising_diffusion_pytorch import Unet as DenoisingUnet

from .config.training import Unet
from .randomness import derived_seed


def build_model(keys: Unet, channels: int, seed: int = 0) -> DenoisingUnet:
    """The U-Net with weights drawn from the seed; [N, C, H, W] and times [N] to [N, C, H, W].

    Weights are drawn on the CPU, so that they are the same on all hardware.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "weights"))
        model = DenoisingUnet(
            dim=keys.dim,
            dim_mults=keys.dim_mults,
            channels=channels,
            attn_heads=keys.attn_heads,
            attn_dim_head=keys.attn_dim_head,
        )
    assert not list(model.buffers()), "checkpoints hold parameters only"
    return model
