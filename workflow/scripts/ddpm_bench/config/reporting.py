"""What decides tables and figures: the `--what` of the programs that make them."""

from pydantic import Field

from ddpm_bench.config.block import Block, Name, PositiveInt, Seed
from ddpm_bench.config.diffusion import Diffusion
from ddpm_bench.config.published import PublishedOf
from ddpm_bench.config.sampling import Drawing
from ddpm_bench.config.sweep import Sweep


class CollectStage(Block):
    """What decides an experiment's tables, but its scores."""

    version: PositiveInt
    experiment: Name
    dataset: Name


class PlotStage(Block):
    """What decides a figure, but the table or the images that it shows."""

    version: PositiveInt


class ScheduleStage(Block):
    """What decides the figure of a forward process and of the loss weights."""

    version: PositiveInt
    diffusion: Diffusion = Field(default_factory=Diffusion)
    min_snr_gamma: float | None = None


class SamplersStage(Block):
    """What decides the comparison of an experiment's samplers, but scores and timings."""

    version: PositiveInt
    sets: dict[Name, Drawing] = Field(default_factory=dict)


class ChargedExperiment(Block):
    """The names by which an experiment's jobs are known."""

    dataset: Name
    samples: list[Name] = Field(default_factory=list)
    scores: list[Name] = Field(default_factory=list)


class CostsStage(Block):
    """What decides the table of costs, but what was measured."""

    version: PositiveInt
    experiments: dict[Name, ChargedExperiment]


class TrainingPrerequisites(Block):
    """What an experiment's training stands on."""

    autoencoder: Name | None = None


class HoursStage(Block):
    """What decides scores against hours of training, but the scores and the times."""

    version: PositiveInt
    experiments: dict[Name, TrainingPrerequisites]
    published: tuple[PublishedOf, ...] = ()


class LossGroup(Block):
    """Experiments whose losses compare; by name, what sets each apart, in words."""

    dataset: str
    about: str
    experiments: dict[Name, str]


class LossesStage(Block):
    """What decides the comparison of losses, but the losses."""

    version: PositiveInt
    groups: tuple[LossGroup, ...] = ()


class SweepStage(Block):
    """What decides the tables and figures of a sweep, but what its members came to."""

    version: PositiveInt
    sweep: Name
    swept: Sweep
    train_seed: Seed = 0  # of all members, where it is not swept


class GridStage(Block):
    """What decides the grid of a checkpoint's samples, but the samples."""

    version: PositiveInt
    images: PositiveInt = 64
