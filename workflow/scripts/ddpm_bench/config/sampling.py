"""`samples:`, named sets of images drawn from checkpoints."""

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from pydantic import Field

from ddpm_bench.config.block import (
    MOST_FORWARD_STEPS,
    BatchSize,
    Block,
    Checkpoints,
    Cores,
    Failing,
    ForwardSteps,
    Images,
    PositiveInt,
    Seed,
    Steps,
)
from ddpm_bench.config.diffusion import Diffusion
from ddpm_bench.config.networks import LatentShape, Model, VqVae
from ddpm_bench.config.training import Train, nearest_multiples


class SampleRun(Failing):
    """Settings of running sampling, which never change a byte."""

    images_per_job: Images | None = Field(
        None,
        description="Images of one job, a multiple of batch_size; null: the whole set.",
    )
    checkpoints_per_job: Checkpoints = Field(
        1,
        description="Checkpoints of a training job from which one SLURM job draws, one after the "
        "other on one GPU; if one fails, the job's finished ones are drawn again.",
    )
    cpus: Cores = Field(
        2,
        description="CPU cores of each job; fewer where `--cores` or OMP_NUM_THREADS are less.",
    )


Timestep = Annotated[int, Field(ge=0), MOST_FORWARD_STEPS]


class TimestepRange(Block):
    """Timesteps at equal distances from `from` down to `to`, which is included if one meets it."""

    first: Timestep = Field(alias="from", description="First and highest timestep.")
    last: Timestep = Field(alias="to", description="Lower bound of the timesteps.")
    every: ForwardSteps = Field(description="Distance between timesteps.")

    def problems(self) -> Iterator[str]:
        if self.first < self.last:
            yield f"from = {self.first} is below to = {self.last}: timesteps descend; swap them"

    def values(self) -> range:
        """Return the timesteps of the range."""
        return range(self.first, self.last - 1, -self.every)


Timesteps = tuple[Timestep | TimestepRange, ...]


def expanded_timesteps(timesteps: Timesteps) -> list[int]:
    """Return every timestep of a list of single ones and ranges, in its order."""
    expanded: list[int] = []
    for item in timesteps:
        if isinstance(item, int):
            expanded.append(item)
        else:
            expanded += item.values()
    return expanded


# Options that only some schedulers take.
OPTIONS = {
    "eta": ("ddim",),
    "variance": ("ddpm",),
    "solver_order": ("dpmsolver++", "unipc"),
    "karras_sigmas": ("dpmsolver++", "unipc", "euler", "heun"),
}


class Drawing(Block):
    """All keys that decide the bytes of each image of a set."""

    scheduler: Literal[
        "ddpm", "ddim", "dpmsolver++", "unipc", "euler", "euler-ancestral", "heun"
    ] = Field(
        "dpmsolver++",
        description="Sampler, from diffusers (Ho 2020, Song 2021, Lu 2022, Zhao 2023, Karras "
        "2022).",
    )
    solver_order: int | None = Field(
        None,
        ge=1,
        le=3,
        description="Order of dpmsolver++ and unipc, to which unipc's corrector adds one; null: "
        "2. Order 3 of diffusers' dpmsolver++ does not err less in general: on Gaussian data up to "
        "8 times as much with 80 trailing steps or more, or with 10 at the levels of Karras et al.",
    )
    steps: ForwardSteps = Field(
        20,
        description="Solver steps, at most diffusion.timesteps; each takes one network "
        "evaluation, or two with heun, except in the last step.",
    )
    eta: float = Field(0.0, ge=0, le=1, description="Noise of ddim: 0 deterministic, 1 as ddpm.")
    variance: Literal["fixed-small", "fixed-large"] | None = Field(
        None,
        description="Variance of the noise that ddpm adds: the posterior's (fixed-small; null) "
        "or beta (fixed-large), the two of Ho et al. 2020, section 3.2, who drew CIFAR-10 with "
        "the latter.",
    )
    timestep_spacing: Literal["trailing", "linspace", "leading"] = Field(
        "trailing",
        description="Choice of the visited timesteps (Lin et al. 2024, table 2); dpmsolver++ and "
        "unipc leave out timestep 0 of the other two, as diffusers' do.",
    )
    timesteps: Annotated[Timesteps, Field(min_length=1)] | None = Field(
        None,
        description="The visited timesteps instead of `steps` and `timestep_spacing`, descending "
        "from at most diffusion.timesteps - 1: numbers and ranges such as "
        "`[{from: 999, to: 219, every: 20}, {from: 199, to: 0, every: 1}]`.",
    )
    karras_sigmas: bool | None = Field(
        None,
        description="Noise levels of Karras 2022, eq. 5, from 80 (or the schedule's highest) to "
        "the schedule's lowest, instead of a spacing: for dpmsolver++, unipc, euler, heun. null: "
        "true for heun, whose error at evenly spaced timesteps is large, unless timesteps are "
        "given. Few steps of heun overshoot and are refused: it takes about 10 or more.",
    )
    precision: Literal["fp32", "tf32", "bf16"] = Field(
        "fp32",
        description="Precision of the network; the solver's steps are in float32. tf32: GPUs round "
        "the inputs of the network's products to 10 bits of mantissa; CPUs compute in fp32.",
    )
    ema_sigma_rel: float | None = Field(
        None,
        description="Average of the weights: null for the one of train.ema_decay, or one of "
        "train.ema_sigma_rels.",
    )
    batch_size: BatchSize = Field(64, description="Images per network evaluation.")
    seed: Seed = Field(
        0, description="Seed of the noise; image i of a set depends on the seed and i alone."
    )

    def solver_steps(self) -> int:
        """Return the number of visited timesteps."""
        return len(expanded_timesteps(self.timesteps)) if self.timesteps else self.steps

    def network_evaluations(self) -> int:
        """Return the number of network evaluations per image.

        heun takes two in each step but the last (Karras et al. 2022, algorithm 1), others one.
        """
        steps = self.solver_steps()
        return 2 * steps - 1 if self.scheduler == "heun" else steps

    def karras_spaced(self) -> bool:
        """Return True if the noise levels are those of Karras et al., not those of timesteps."""
        if self.karras_sigmas is not None:
            return self.karras_sigmas
        given = self.timesteps is not None or self.timestep_spacing != "trailing"
        return self.scheduler == "heun" and not given

    def problems(self) -> Iterator[str]:
        for option, schedulers in OPTIONS.items():
            value = getattr(self, option)
            if value and self.scheduler not in schedulers:
                yield (
                    f"{option} = {value} is an option of {' and '.join(schedulers)}, not of "
                    f"{self.scheduler}; remove it"
                )
        if self.timesteps is not None:
            yield from self._misfits_of_timesteps(self.timesteps)
        if self.karras_sigmas and self.timestep_spacing != "trailing":
            yield (
                f"timestep_spacing = {self.timestep_spacing}: karras_sigmas chooses the noise "
                "levels itself; remove one of the two"
            )

    def _misfits_of_timesteps(self, timesteps: Timesteps) -> Iterator[str]:
        for other in ("steps", "timestep_spacing", "karras_sigmas"):
            if other in self.model_fields_set and getattr(self, other):
                yield f"timesteps and {other} both set the visited timesteps; remove one"
        if sum(1 if isinstance(one, int) else len(one.values()) for one in timesteps) > (
            MOST_FORWARD_STEPS.limit
        ):
            yield f"timesteps has more than {MOST_FORWARD_STEPS.limit:,} entries; give fewer"
            return
        expanded = expanded_timesteps(timesteps)
        for before, after in itertools.pairwise(expanded):
            if before <= after:
                yield f"timesteps has {after} after {before}: they must descend"
                return


class CheckpointRange(Block):
    """Checkpoints at equal distances, between two training steps."""

    every: Steps | None = Field(
        None,
        description="Distance of the checkpoints, a multiple of train.checkpoint_every; null: all.",
    )
    first: Steps | None = Field(
        None, alias="from", description="First training step; null: that of the first checkpoint."
    )
    last: Steps | None = Field(
        None, alias="to", description="Last training step; null: that of the last checkpoint."
    )

    def problems(self) -> Iterator[str]:
        if self.first is not None and self.last is not None and self.first > self.last:
            yield f"from = {self.first} is above to = {self.last}; swap them"

    def chosen(self, steps: Iterable[int]) -> list[int]:
        """Return those of a training's checkpoint steps that are in this range."""
        return [
            step
            for step in steps
            if step % (self.every or 1) == 0
            and (self.first or 0) <= step
            and (self.last is None or step <= self.last)
        ]

    def count(self, spacing: int, end: int) -> int:
        """Return how many of the checkpoints at each `spacing` up to `end` are in this range."""
        distance = math.lcm(spacing, self.every or 1)
        before = (self.first - 1) // distance if self.first else 0
        return max(0, min(end, self.last or end) // distance - before)


ChosenCheckpoints = (
    Literal["all", "latest"] | Annotated[tuple[Steps, ...], Field(min_length=1)] | CheckpointRange
)


def count_chosen(chosen: ChosenCheckpoints, train: Train) -> int:
    """Return the number of a training's checkpoints that a set of samples is drawn from."""
    if isinstance(chosen, CheckpointRange):
        return chosen.count(train.checkpoint_every, train.steps)
    if chosen == "all":
        return train.steps // train.checkpoint_every
    return 1 if chosen == "latest" else len(set(chosen))


class Samples(Drawing):
    """A set of samples: its checkpoints, and the number of images of each."""

    images: Images = Field(description="Images per checkpoint.")
    checkpoints: ChosenCheckpoints = Field(
        "all",
        description="Checkpoints to draw from: all, latest, a list of training steps, or "
        "`{every: 5000, from: 10000, to: 50000}` with any of the three.",
    )
    run: SampleRun = Field(default_factory=SampleRun, description="Settings of running sampling.")

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        per_job = self.run.images_per_job
        if per_job is not None and per_job % self.batch_size:
            yield (
                f"run.images_per_job = {per_job} must be a multiple of batch_size = "
                f"{self.batch_size}; the nearest that are: "
                f"{nearest_multiples(per_job, self.batch_size)}"
            )


class SampleStage(Block):
    """All that determines the bytes of a set besides the weights: `--what` of sample.py.

    autoencoder: decodes the latents that the model draws; None for a model of pixels.
    """

    version: PositiveInt
    image_size: PositiveInt
    channels: Literal[1, 3]
    autoencoder: VqVae | None = None
    model: Model
    diffusion: Diffusion = Field(default_factory=Diffusion)
    drawing: Drawing = Field(default_factory=Drawing)

    def latents(self) -> LatentShape | None:
        """Return the shape of the latents that the model draws; None for a model of pixels."""
        return None if self.autoencoder is None else self.autoencoder.latents_of(self.image_size)
