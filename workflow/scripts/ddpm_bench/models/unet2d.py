"""diffusers' UNet2DModel as one of our networks. Its import takes a second."""

from typing import Any

import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import nn

from ddpm_bench.config.networks import Unet2d

# Keys by their names in diffusers, and with its defaults.
SAME_KEYS = {"norm_eps", "flip_sin_to_cos", "freq_shift", "downsample_padding"}
BLOCKS = (ResnetBlock2D, Attention)


class ImageUnet2d(UNet2DModel):
    """diffusers' UNet2DModel, called as the other networks are."""

    def forward(
        self, images: torch.Tensor, times: torch.Tensor, estimate: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return a prediction [N, C, H, W] for noised images [N, C, H, W] at times [N].

        estimate: of the images, [N, C, H, W], for a network with self-conditioning; zeros without
        one.
        """
        if self.config.in_channels > self.config.out_channels:
            estimate = torch.zeros_like(images) if estimate is None else estimate
            images = torch.cat((estimate, images), dim=1)
        return super().forward(images, times, return_dict=False)[0]


def build_unet2d(keys: Unet2d, channels: int) -> ImageUnet2d:
    """Build the network, with torch's own random weights."""
    return ImageUnet2d(**unet2d_arguments(keys, channels))


def unet2d_arguments(keys: Unet2d, channels: int) -> dict[str, Any]:
    """Return the arguments of diffusers' UNet2DModel."""
    attentive = [level in keys.attention_levels for level in range(len(keys.block_out_channels))]
    return {
        "in_channels": channels * (2 if keys.self_condition else 1),
        "out_channels": channels,
        "block_out_channels": keys.block_out_channels,
        "layers_per_block": keys.layers_per_block,
        "down_block_types": tuple("AttnDownBlock2D" if has else "DownBlock2D" for has in attentive),
        "up_block_types": tuple("AttnUpBlock2D" if has else "UpBlock2D" for has in attentive[::-1]),
        "attention_head_dim": keys.attention_head_dim,
        "norm_num_groups": keys.norm_num_groups,
        "dropout": keys.dropout,
        **keys.model_dump(include=SAME_KEYS, exclude_defaults=True),
    }


def last_layer(block: nn.Module) -> nn.Module:
    """Return the layer that ends the residual branch of one of BLOCKS."""
    return block.conv2 if isinstance(block, ResnetBlock2D) else block.to_out[0]
