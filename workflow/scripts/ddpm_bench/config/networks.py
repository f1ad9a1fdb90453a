"""`model:`, the denoising network."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from ddpm_bench.config.keys import Keys, PositiveInt


class Network(Keys):
    """What every network has."""

    self_condition: bool = Field(
        False,
        description="The network also sees its own estimate of the image (Chen et al. 2022).",
    )
    init: Literal["default", "orthogonal"] = Field(
        "default",
        description="First weights: the package's own, or orthogonal matrices (Saxe et al. 2014).",
    )
    zero_residual: bool = Field(
        False,
        description="Residual branches begin as zero (Goyal et al. 2017; Ho et al. 2020).",
    )
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the elements that training zeroes inside residual blocks (Srivastava "
        "et al. 2014; Ho et al. 2020 take 0.1 for CIFAR-10).",
    )


class Unet(Network):
    """The U-Net of denoising-diffusion-pytorch."""

    name: Literal["unet"] = Field(description="Which network.")
    dim: PositiveInt = Field(64, ge=8, multiple_of=8, description="Channels of the first level.")
    dim_mults: tuple[PositiveInt, ...] = Field(
        (1, 2, 4, 8), min_length=1, description="Channels of each level, in multiples of `dim`."
    )
    attn_heads: PositiveInt = Field(4, description="Heads of each attention block.")
    attn_dim_head: PositiveInt = Field(32, description="Channels of each head.")

    def smallest_multiple(self) -> int:
        """Image sides must be multiples of this many pixels (one halving between levels)."""
        return 2 ** (len(self.dim_mults) - 1)


class Unet2d(Network):
    """UNet2DModel of diffusers, the U-Net of Ho et al. 2020."""

    name: Literal["unet2d"] = Field(description="Which network.")
    block_out_channels: tuple[PositiveInt, ...] = Field(
        (128, 256, 256, 256), min_length=1, description="Channels of each level."
    )
    layers_per_block: PositiveInt = Field(2, description="Residual blocks of each level.")
    attention_levels: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (1,), description="Levels with self-attention, 0 the first."
    )
    attention_head_dim: PositiveInt | None = Field(
        None, description="Channels of each head; null: one head, as Ho et al. have it."
    )
    norm_num_groups: PositiveInt = Field(32, description="Groups of each group normalisation.")

    def problems(self) -> Iterator[str]:
        levels = len(self.block_out_channels)
        if any(level >= levels for level in self.attention_levels):
            yield (
                f"attention_levels = {list(self.attention_levels)}: there are {levels} levels, "
                f"0 to {levels - 1}"
            )
        for channels in self.block_out_channels:
            if channels % self.norm_num_groups:
                yield (
                    f"block_out_channels {channels} must be a multiple of norm_num_groups = "
                    f"{self.norm_num_groups}"
                )
            if self.attention_head_dim and channels % self.attention_head_dim:
                yield (
                    f"block_out_channels {channels} must be a multiple of attention_head_dim = "
                    f"{self.attention_head_dim}"
                )

    def smallest_multiple(self) -> int:
        """Image sides must be multiples of this many pixels (one halving between levels)."""
        return 2 ** (len(self.block_out_channels) - 1)


Model = Annotated[Unet | Unet2d, Field(discriminator="name")]
