"""`samples:`, named sets of images drawn from checkpoints."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from .diffusion import Diffusion
from .keys import Keys, PositiveInt, Seed
from .networks import Model
from .training import nearest_multiples


class SampleRun(Keys):
    """How sampling is run; never changes a byte."""

    images_per_job: PositiveInt | None = Field(
        None,
        description="Images that one job draws, a multiple of batch_size; null: the whole set.",
    )
    cpus: PositiveInt = Field(2, description="CPU cores of each job.")


class Drawing(Keys):
    """What decides the bytes of each image of a set."""

    scheduler: Literal["ddpm", "ddim", "dpmsolver++"] = Field(
        "dpmsolver++", description="Sampler, from diffusers (Ho 2020, Song 2021, Lu 2022)."
    )
    steps: PositiveInt = Field(
        20, description="Network evaluations per image; at most `timesteps`."
    )
    eta: float = Field(0.0, ge=0, le=1, description="Noise of ddim: 0 deterministic, 1 as ddpm.")
    timestep_spacing: Literal["trailing", "linspace", "leading"] = Field(
        "trailing", description="Which timesteps are visited (Lin et al. 2024, table 2)."
    )
    ema_sigma_rel: float | None = Field(
        None,
        description="Which average of the weights: null the one of train.ema_decay, or one of "
        "train.ema_sigma_rels.",
    )
    batch_size: PositiveInt = Field(64, description="Images per network evaluation.")
    seed: Seed = Field(0, description="Image i of a set depends on the seed and i alone.")

    def problems(self) -> Iterator[str]:
        if self.eta and self.scheduler != "ddim":
            yield f"eta = {self.eta} is an option of scheduler ddim; remove it"
        if self.scheduler == "ddim" and self.timestep_spacing == "linspace":
            yield "scheduler ddim steps evenly: timestep_spacing must be trailing or leading"


class Samples(Drawing):
    """A set of samples: which checkpoints, and how many images of each."""

    images: PositiveInt = Field(le=10**6, description="Images per checkpoint.")
    checkpoints: (
        Literal["all", "latest"] | Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    ) = Field("all", description="all, latest, or a list of training steps.")
    run: SampleRun = Field(default_factory=SampleRun, description="How sampling is run.")

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        per_job = self.run.images_per_job
        if per_job is not None and per_job % self.batch_size:
            yield (
                f"run.images_per_job = {per_job} must be a multiple of batch_size = "
                f"{self.batch_size}; the nearest that are: "
                f"{nearest_multiples(per_job, self.batch_size)}"
            )


class SampleStage(Keys):
    """Everything that determines the bytes of a set, but the weights: a program's `--what`."""

    version: PositiveInt
    image_size: PositiveInt
    channels: Literal[1, 3]
    model: Model
    diffusion: Diffusion = Field(default_factory=Diffusion)
    drawing: Drawing = Field(default_factory=Drawing)
