"""Keys that decide tables and figures: `--what` of the programs that make them."""

from pydantic import Field

from ddpm_bench.config.block import Block, Name, PositiveInt, Seed
from ddpm_bench.config.diffusion import Diffusion
from ddpm_bench.config.published import PublishedOf
from ddpm_bench.config.sampling import Drawing
from ddpm_bench.config.sweep import Sweep


class CollectStage(Block):
    """All that decides an experiment's tables besides its scores."""

    version: PositiveInt
    experiment: Name
    dataset: Name


class PlotStage(Block):
    """All that decides a figure besides the table or the images that it shows."""

    version: PositiveInt


class ScheduleStage(Block):
    """All that decides the figure of a forward process and of the loss weights."""

    version: PositiveInt
    diffusion: Diffusion = Field(default_factory=Diffusion)
    min_snr_gamma: float | None = None


class SamplersStage(Block):
    """All that decides the comparison of an experiment's samplers besides scores and timings."""

    version: PositiveInt
    sets: dict[Name, Drawing] = Field(default_factory=dict)


class ChargedExperiment(Block):
    """Names of an experiment's dataset, sets and scores, from which its jobs are named."""

    dataset: Name
    samples: list[Name] = Field(default_factory=list)
    scores: list[Name] = Field(default_factory=list)


class CostsStage(Block):
    """All that decides the table of costs besides the measurements."""

    version: PositiveInt
    experiments: dict[Name, ChargedExperiment]


class TrainingPrerequisites(Block):
    """Trainings that an experiment's training needs."""

    autoencoder: Name | None = None


class HoursStage(Block):
    """All that decides the figures of scores against hours besides scores and times."""

    version: PositiveInt
    experiments: dict[Name, TrainingPrerequisites]
    published: tuple[PublishedOf, ...] = ()


class LossGroup(Block):
    """Experiments with comparable losses, by name with a text of their differences."""

    dataset: str
    about: str
    experiments: dict[Name, str]


class LossesStage(Block):
    """All that decides the comparison of losses besides the losses."""

    version: PositiveInt
    groups: tuple[LossGroup, ...] = ()


class SweepStage(Block):
    """All that decides a sweep's tables and figures besides its members' results."""

    version: PositiveInt
    sweep: Name
    swept: Sweep
    train_seed: Seed = 0  # of all members, unless it is swept


class GridStage(Block):
    """All that decides the grid of a checkpoint's samples besides the samples."""

    version: PositiveInt
    images: PositiveInt = 64
