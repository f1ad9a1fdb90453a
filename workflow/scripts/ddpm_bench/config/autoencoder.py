"""`autoencoders:`, networks that turn images into latents, in which experiments may train."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from ddpm_bench.config.block import Block, Name, PositiveInt
from ddpm_bench.config.networks import VqVae
from ddpm_bench.config.sampling import CheckpointRange
from ddpm_bench.config.scoring import Score
from ddpm_bench.config.training import Train, Validation

# Of `train:`, options of the diffusion loss, and averages that nothing here would read.
OF_DIFFUSION = ("min_snr_gamma", "offset_noise", "ema_sigma_rels")
RECONSTRUCTIONS = "reconstructions"  # where experiments have sets of samples


class Reconstructions(Block):
    """Held-out images encoded, quantised and decoded again, of each checkpoint."""

    images: PositiveInt = Field(
        1000,
        le=10**6,
        description="The first of the held-out images, at most; of the training images where the "
        "dataset holds none out.",
    )
    checkpoints: (
        Literal["all", "latest"]
        | Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
        | CheckpointRange
    ) = Field("all", description="As of `samples`.")


class Autoencoder(Block):
    """One autoencoder trained on one dataset; experiments that name it share its latents."""

    dataset: Name = Field(description="A name under `datasets`.")
    model: VqVae = Field(description="The network.")
    train: Train = Field(description="The optimisation.")
    validation: Validation = Field(
        default_factory=Validation, description="The loss on held-out images."
    )
    reconstructions: Reconstructions = Field(
        default_factory=Reconstructions, description="What is looked at, and scored."
    )
    scores: dict[Name, Score] = Field(
        {}, description="Named ways to score the reconstructions; take `reference: eval`."
    )

    @property
    def samples(self) -> dict[str, Reconstructions]:
        """What is scored, where experiments have their named sets."""
        return {RECONSTRUCTIONS: self.reconstructions}

    def problems(self) -> Iterator[str]:
        for key in OF_DIFFUSION:
            if getattr(self.train, key):
                yield f"train.{key} is an option of diffusion models; remove it"


class EncodeStage(Block):
    """What determines latents, but the weights and the images: a program's `--what`."""

    version: PositiveInt
    model: VqVae


class ReconstructStage(Block):
    """What determines reconstructions, but the weights and the images: a program's `--what`."""

    version: PositiveInt
    model: VqVae
    images: PositiveInt
