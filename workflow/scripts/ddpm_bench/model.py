"""The denoising networks, built from their keys.

All take noised images [N, C, H, W], times [N] and, with self-conditioning, an estimate of the image
[N, C, H, W] (zeros without one), and give a prediction [N, C, H, W].
"""

import functools

import torch
from denoising_diffusion_pytorch import Unet as DenoisingUnet
from denoising_diffusion_pytorch import denoising_diffusion_pytorch as package
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import nn
from torch.utils.checkpoint import checkpoint

from .config.networks import Model, Unet
from .randomness import derived_seed

# What is computed again in the backward pass rather than kept.
RECOMPUTED = (
    package.ResnetBlock,
    package.LinearAttention,
    package.Attention,
    ResnetBlock2D,
    Attention,
)


class ImageUnet2d(UNet2DModel):
    """diffusers' UNet2DModel, called as the other networks are."""

    def forward(
        self, images: torch.Tensor, times: torch.Tensor, estimate: torch.Tensor | None = None
    ) -> torch.Tensor:
        if self.config.in_channels > self.config.out_channels:
            estimate = torch.zeros_like(images) if estimate is None else estimate
            images = torch.cat((estimate, images), dim=1)
        return super().forward(images, times, return_dict=False)[0]


def build_model(keys: Model, channels: int, seed: int = 0) -> nn.Module:
    """The network with weights drawn from the seed.

    Weights are drawn on the CPU, so that they are the same on all hardware.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "weights"))
        model = _unet(keys, channels) if isinstance(keys, Unet) else _unet2d(keys, channels)
        if keys.init == "orthogonal":
            draw_orthogonal_weights(model)
    if keys.zero_residual:
        zero_residual_branches(model)
    assert not list(model.buffers()), "checkpoints hold parameters only"
    return model


def _unet(keys, channels: int) -> nn.Module:
    return DenoisingUnet(
        dim=keys.dim,
        dim_mults=keys.dim_mults,
        channels=channels,
        self_condition=keys.self_condition,
        attn_heads=keys.attn_heads,
        attn_dim_head=keys.attn_dim_head,
    )


def _unet2d(keys, channels: int) -> nn.Module:
    levels = range(len(keys.block_out_channels))
    attentive = [level in keys.attention_levels for level in levels]
    return ImageUnet2d(
        in_channels=channels * (2 if keys.self_condition else 1),
        out_channels=channels,
        block_out_channels=keys.block_out_channels,
        layers_per_block=keys.layers_per_block,
        down_block_types=tuple("AttnDownBlock2D" if has else "DownBlock2D" for has in attentive),
        up_block_types=tuple("AttnUpBlock2D" if has else "UpBlock2D" for has in attentive[::-1]),
        attention_head_dim=keys.attention_head_dim,
        norm_num_groups=keys.norm_num_groups,
    )


def draw_orthogonal_weights(model: nn.Module) -> None:
    """Make the weights of every convolution and linear layer, as matrices [out, in x kernel],
    orthogonal (Saxe et al. 2014), and their biases zero."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.orthogonal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


@torch.no_grad()
def zero_residual_branches(model: nn.Module) -> None:
    """Let every residual branch begin as zero, so that the network begins shallow.

    Where a branch ends in a normalisation its gain is set to 0 (Goyal et al. 2017, section 5.1:
    the gradient of a norm at zero input would explode), else its last layer (Ho et al. 2020).
    """
    for module in model.modules():
        if isinstance(module, package.ResnetBlock):
            module.block2.norm.g.zero_()
        elif isinstance(module, package.LinearAttention):
            module.to_out[1].g.zero_()
        elif isinstance(module, package.Attention):
            _zero(module.to_out)
        elif isinstance(module, ResnetBlock2D):
            _zero(module.conv2)
        elif isinstance(module, Attention):
            _zero(module.to_out[0])


def _zero(layer: nn.Module) -> None:
    layer.weight.zero_()
    layer.bias.zero_()


def in_channels_last(model: nn.Module) -> nn.Module:
    """Lay the weights of convolutions out as they are computed fastest; results stay the same up to
    the order of sums. Other parameters keep their strides, which their gradients have too."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
    return model


def recompute_activations(model: nn.Module) -> None:
    """Compute the activations inside residual and attention blocks again in the backward pass
    rather than keep them (Chen et al. 2016); results stay the same."""
    for module in model.modules():
        if isinstance(module, RECOMPUTED):
            module.forward = functools.partial(checkpoint, module.forward, use_reentrant=False)
