"""The network of an autoencoder, and the latents that it makes of images."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from ddpm_bench.config.keys import Keys, PositiveInt

MOST_DOUBLINGS = 2  # of channels: 1, 2, 4, 4, ...


class LatentShape(Keys):
    """The latents of one image: float32 [channels, size, size]."""

    channels: PositiveInt
    size: PositiveInt


class VqVae(Keys):
    """A VQ-VAE (van den Oord et al. 2017): encoder and decoder of diffusers, codebooks of
    vector-quantize-pytorch."""

    name: Literal["vqvae"] = Field(description="Which network.")
    channels: PositiveInt = Field(
        64, description="Of the first level; each halving doubles them, up to four times as many."
    )
    downsampling: Literal[2, 4, 8, 16] = Field(
        4, description="Pixels of an image side for each of its latent."
    )
    layers_per_block: PositiveInt = Field(2, description="Residual blocks of each level.")
    norm_num_groups: PositiveInt = Field(32, description="Groups of each group normalisation.")
    attention: bool = Field(True, description="Self-attention at the latents' resolution.")
    latent_channels: PositiveInt = Field(4, description="Channels of the latents.")
    codebook_size: PositiveInt = Field(512, ge=2, description="Codes of each codebook.")
    codebook_dim: PositiveInt | None = Field(
        None,
        description="Dimensions in which codes are looked up (Yu et al. 2021); null: as many as "
        "latent_channels.",
    )
    residual_quantizers: PositiveInt = Field(
        1,
        description="Codebooks in a row, each for what the ones before leave (Zeghidour et al. "
        "2021).",
    )
    commitment: float = Field(
        0.25, gt=0, description="Weight of the squared distance between latents and their codes."
    )
    restart_every: int = Field(
        100,
        ge=0,
        description="Steps after which codes that none has used are set to latents of the batch "
        "(Dhariwal et al. 2020); 0: never.",
    )

    def problems(self) -> Iterator[str]:
        if self.channels % self.norm_num_groups:
            yield (
                f"channels = {self.channels} must be a multiple of norm_num_groups = "
                f"{self.norm_num_groups}"
            )

    def widths(self) -> tuple[int, ...]:
        """Channels of each level, from the image's resolution to the latents'."""
        halvings = self.downsampling.bit_length() - 1
        return tuple(
            self.channels * 2 ** min(level, MOST_DOUBLINGS) for level in range(halvings + 1)
        )

    def smallest_multiple(self) -> int:
        """Image sides must be multiples of this many pixels."""
        return self.downsampling

    def latents_of(self, image_size: int) -> LatentShape:
        """What it makes of a square image of so many pixels a side."""
        return LatentShape(channels=self.latent_channels, size=image_size // self.downsampling)
