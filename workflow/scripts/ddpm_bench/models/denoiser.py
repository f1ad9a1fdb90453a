"""The denoising networks, built from their keys.

All take noised images [N, C, H, W], times [N] and, with self-conditioning, an estimate of the image
[N, C, H, W] (zeros without one), and return a prediction [N, C, H, W].
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from denoising_diffusion_pytorch import Unet as DenoisingUnet
from denoising_diffusion_pytorch import denoising_diffusion_pytorch as package
from torch import nn
from torch.utils.checkpoint import checkpoint

from ddpm_bench.config.networks import Model, Unet
from ddpm_bench.models.dropout import replace_dropout
from ddpm_bench.models.randomness import derived_seed

INITS = {"orthogonal": nn.init.orthogonal_, "xavier": nn.init.xavier_uniform_}
BLOCKS = (package.ResnetBlock, package.LinearAttention, package.Attention)


def build_model(keys: Model, channels: int, seed: int = 0) -> nn.Module:
    """Build the network of some keys, with weights drawn from the seed.

    Weights are drawn on the CPU, so that they are the same on all hardware. channels: of the images
    or latents.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "weights"))
        if isinstance(keys, Unet):
            model = _build_unet(keys, channels)
        else:
            from ddpm_bench.models.unet2d import build_unet2d

            model = build_unet2d(keys, channels)
        if keys.init != "default":
            draw_weights(model, INITS[keys.init])
    replace_dropout(model)
    if keys.zero_residual:
        zero_residual_branches(model)
    if keys.zero_output:
        zero_layer(model.final_conv if isinstance(keys, Unet) else model.conv_out)
    assert not list(model.buffers()), "checkpoints hold parameters only"
    return model


def _build_unet(keys: Unet, channels: int) -> DenoisingUnet:
    return DenoisingUnet(**unet_arguments(keys, channels))


def unet_arguments(keys: Unet, channels: int) -> dict[str, Any]:
    """Return the arguments of denoising-diffusion-pytorch's Unet."""
    return {
        "dim": keys.dim,
        "dim_mults": keys.dim_mults,
        "channels": channels,
        "self_condition": keys.self_condition,
        "attn_heads": keys.attn_heads,
        "attn_dim_head": keys.attn_dim_head,
        "dropout": keys.dropout,
    }


def draw_weights(model: nn.Module, draw: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Draw the weights of every convolution and linear layer anew, and make their biases zero.

    draw: one of INITS. Orthogonal weights of a convolution are a matrix [out, in x kernel] (Saxe et
    al. 2014). Xavier's are uniform in +-sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010, eq.
    16), where fans count the kernel's places: Ho et al. 2020, in their program.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            draw(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


@torch.no_grad()
def zero_residual_branches(model: nn.Module) -> None:
    """Make every residual branch zero, so that the network begins shallow.

    Where a branch ends in a normalisation its gain is set to 0 (Goyal et al. 2017, section 5.1: the
    gradient of a norm at zero input would explode), else its last layer (Ho et al. 2020).
    """
    for block in _residual_blocks(model):
        if isinstance(block, package.ResnetBlock):
            block.block2.norm.g.zero_()
        elif isinstance(block, package.LinearAttention):
            block.to_out[1].g.zero_()
        else:
            zero_layer(block.to_out if isinstance(block, package.Attention) else _last_layer(block))


@torch.no_grad()
def zero_layer(layer: nn.Module) -> None:
    """Make the weights and biases of a layer zero."""
    for value in layer.parameters():
        value.zero_()


def _last_layer(block: nn.Module) -> nn.Module:
    """Return the layer that ends the residual branch of a block of UNet2DModel."""
    from ddpm_bench.models.unet2d import last_layer

    return last_layer(block)


def _residual_blocks(model: nn.Module) -> list[nn.Module]:
    """Return the residual and attention blocks of one of our networks."""
    if isinstance(model, DenoisingUnet):
        return [module for module in model.modules() if isinstance(module, BLOCKS)]
    from ddpm_bench.models import unet2d

    return [module for module in model.modules() if isinstance(module, unet2d.BLOCKS)]


def recompute_activations(model: nn.Module) -> None:
    """Compute activations inside residual and attention blocks anew in the backward pass.

    They are not kept, which saves memory (Chen et al. 2016); results stay the same.
    """
    for block in _residual_blocks(model):
        block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)
