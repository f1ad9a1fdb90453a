"""`model:`, the denoising network."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from ddpm_bench.config.block import MOST_STEPS, AtMost, Block, Channels, Levels, PositiveInt

# Each level but the last halves images, which have at most 2,048 pixels a side.
MOST_LEVELS = 12
Codes = Annotated[PositiveInt, AtMost(2**20, "published codebooks have 16,384 codes at most")]


class Network(Block):
    """Keys of every denoising network."""

    self_condition: bool = Field(
        False,
        description="The network also sees its own estimate of the image (Chen et al. 2022).",
    )
    init: Literal["default", "orthogonal", "xavier"] = Field(
        "default",
        description="Initial weights: the package's own, orthogonal matrices (Saxe et al. 2014), "
        "or uniform with variance 2 / (inputs + outputs) (Glorot & Bengio 2010; Ho et al. 2020).",
    )
    zero_residual: bool = Field(
        False,
        description="Start residual branches at zero (Goyal et al. 2017; Ho et al. 2020).",
    )
    zero_output: bool = Field(
        False, description="Start the last convolution at zero (Ho et al. 2020)."
    )
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of elements set to zero in residual blocks during training (Srivastava "
        "et al. 2014; Ho et al. 2020 take 0.1 for CIFAR-10).",
    )


class Unet(Network):
    """The U-Net of denoising-diffusion-pytorch."""

    name: Literal["unet"] = Field(description="Name of the network.")
    dim: Channels = Field(64, ge=8, multiple_of=8, description="Channels of the first level.")
    dim_mults: tuple[Levels, ...] = Field(
        (1, 2, 4, 8),
        min_length=1,
        max_length=MOST_LEVELS,
        description="Channels of each level, in multiples of `dim`.",
    )
    attn_heads: Channels = Field(4, description="Heads of each attention block.")
    attn_dim_head: Channels = Field(32, description="Channels of each head.")

    def smallest_multiple(self) -> int:
        """Return the number that must divide image sides: one halving between levels."""
        return 2 ** (len(self.dim_mults) - 1)


class Unet2d(Network):
    """UNet2DModel of diffusers.

    It is the U-Net of Ho et al. 2020 with their values of flip_sin_to_cos, freq_shift, norm_eps and
    downsample_padding, as config/experiments/cifar10.yaml has them.
    """

    name: Literal["unet2d"] = Field(description="Name of the network.")
    block_out_channels: tuple[Channels, ...] = Field(
        (128, 256, 256, 256),
        min_length=1,
        max_length=MOST_LEVELS,
        description="Channels of each level.",
    )
    layers_per_block: Levels = Field(2, description="Residual blocks of each level.")
    attention_levels: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (1,), max_length=MOST_LEVELS, description="Levels with self-attention, counted from 0."
    )
    attention_head_dim: Channels | None = Field(
        None, description="Channels of each head; null: one head, as in Ho et al. 2020."
    )
    norm_num_groups: Channels = Field(32, description="Groups of each group normalisation.")
    norm_eps: float = Field(
        1e-5,
        gt=0,
        description="Number added to the variance in each group normalisation (Ho et al. 2020: "
        "1e-6).",
    )
    flip_sin_to_cos: bool = Field(
        True,
        description="Cosines of the timestep before its sines; false: after them, as in Ho et al. "
        "2020.",
    )
    freq_shift: Literal[0, 1] = Field(
        0,
        description="Frequencies of the timestep: 10000^(-i / (h - freq_shift)), i = 0 .. h - 1, "
        "for 2 h channels of the first level (Ho et al. 2020: 1).",
    )
    downsample_padding: Literal[0, 1] = Field(
        1,
        description="Zeros around what is halved by a convolution: 1: on each side; 0: only at the "
        "right and the bottom, as in Ho et al. 2020 (TensorFlow's SAME).",
    )

    def problems(self) -> Iterator[str]:
        levels = len(self.block_out_channels)
        if self.freq_shift and self.block_out_channels[0] // 2 == self.freq_shift:
            yield (
                f"freq_shift = {self.freq_shift}: block_out_channels must begin with 4 or more, "
                f"not {self.block_out_channels[0]}"
            )
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
        """Return the number that must divide image sides: one halving between levels."""
        return 2 ** (len(self.block_out_channels) - 1)


Model = Annotated[Unet | Unet2d, Field(discriminator="name")]


MOST_DOUBLINGS = 2  # of channels: 1, 2, 4, 4, ...


class LatentShape(Block):
    """The latents of one image: float32 [channels, size, size]."""

    channels: PositiveInt
    size: PositiveInt


class VqVae(Block):
    """A VQ-VAE (van den Oord et al. 2017).

    Encoder and decoder are those of diffusers, codebooks those of vector-quantize-pytorch. The loss
    is the paper's; its gradient passes the codes by rotation (Fifty et al. 2024).
    """

    name: Literal["vqvae"] = Field(description="Name of the network.")
    channels: Channels = Field(
        64,
        description="Channels of the first level; each halving doubles them, up to four times as "
        "many.",
    )
    downsampling: Literal[2, 4, 8, 16] = Field(4, description="Ratio of image side to latent side.")
    layers_per_block: Levels = Field(2, description="Residual blocks of each level.")
    norm_num_groups: Channels = Field(32, description="Groups of each group normalisation.")
    attention: bool = Field(True, description="Self-attention at the latents' resolution.")
    latent_channels: Channels = Field(4, description="Channels of the latents.")
    codebook_size: Codes = Field(512, ge=2, description="Codes of each codebook.")
    codebook_dim: Channels | None = Field(
        None,
        description="Dimensions in which codes are looked up (Yu et al. 2021); null: as many as "
        "latent_channels.",
    )
    residual_quantizers: Levels = Field(
        1,
        description="Codebooks in a row, each for the residual of those before it (Zeghidour et "
        "al. 2021).",
    )
    commitment: float = Field(
        0.25,
        gt=0,
        description="Weight beta of the term that pulls latents to their codes; the term that "
        "pulls codes to latents has weight 1 (van den Oord et al. 2017, eq. 3).",
    )
    restart_every: Annotated[int, MOST_STEPS] = Field(
        100,
        ge=0,
        description="Steps after which unused codes are set to latents of the batch (Dhariwal et "
        "al. 2020); 0: never.",
    )

    def problems(self) -> Iterator[str]:
        if self.channels % self.norm_num_groups:
            yield (
                f"channels = {self.channels} must be a multiple of norm_num_groups = "
                f"{self.norm_num_groups}"
            )

    def widths(self) -> tuple[int, ...]:
        """Return the channels of each level, from the image's resolution to the latents'."""
        halvings = self.downsampling.bit_length() - 1
        return tuple(
            self.channels * 2 ** min(level, MOST_DOUBLINGS) for level in range(halvings + 1)
        )

    def smallest_multiple(self) -> int:
        """Return the number that must divide image sides."""
        return self.downsampling

    def latents_of(self, image_size: int) -> LatentShape:
        """Return the shape of the latents of a square image with sides of `image_size` pixels."""
        return LatentShape(channels=self.latent_channels, size=image_size // self.downsampling)
