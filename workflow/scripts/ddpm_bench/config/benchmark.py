"""`benchmark:`, the grid of the throughput benchmark: how fast models train, how that scales."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from ddpm_bench.config.block import Block, Name, PositiveInt, Seed, Sha256
from ddpm_bench.config.networks import Unet, Unet2d
from ddpm_bench.config.training import divisors

Strategy = Literal[
    "single",
    "ddp",
    "ddp-fp16",
    "ddp-bf16",
    "powersgd",
    "fsdp",
    "pipeline-gpipe",
    "pipeline-1f1b",
]
Precision = Literal["fp32", "bf16", "fp16"]
PIPELINES = ("pipeline-gpipe", "pipeline-1f1b")
# PowerSGD sends whole gradients in the first two steps: torch's powerSGD_hook, with error feedback,
# takes no earlier start.
STEPS_BEFORE_COMPRESSION = 2


class Resnet(Block):
    """A residual network of torchvision with random weights (He et al. 2016)."""

    name: Literal["resnet18", "resnet50"] = Field(description="Which network.")


class Albert(Block):
    """ALBERT of transformers with random weights, to predict masked tokens (Lan et al. 2020): one
    layer's weights, used many times. The defaults are those of albert-base-v2."""

    name: Literal["albert"] = Field(description="Which network.")
    hidden_size: PositiveInt = Field(768, description="Width of the layer.")
    intermediate_size: PositiveInt = Field(3072, description="Width of its feed-forward part.")
    layers: PositiveInt = Field(12, description="How many times the layer is used.")
    attention_heads: PositiveInt = Field(12, description="Heads of its attention.")
    embedding_size: PositiveInt = Field(128, description="Width of the token embeddings.")
    vocabulary: PositiveInt = Field(30_000, description="Tokens that there are.")
    sequence_length: PositiveInt = Field(128, le=512, description="Tokens of a sequence.")

    def problems(self) -> Iterator[str]:
        if self.hidden_size % self.attention_heads:
            yield (
                f"attention_heads = {self.attention_heads} must divide hidden_size = "
                f"{self.hidden_size}; numbers that do: {divisors(self.hidden_size)}"
            )


class OwnModel(Block):
    """A model of yours: a Python file with a function that returns model, batch and loss."""

    name: Literal["own"] = Field(description="Which network.")
    path: str = Field(description="The Python file. It is executed: name files that you trust.")
    function: str = Field(
        "build",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Called with the number of samples of a batch; returns (model, (inputs, "
        "targets), loss) as docs/benchmark.md says.",
    )


class OfExperiment(Block):
    """The network of an experiment, at the image size and channels of its dataset; of one with an
    `autoencoder` at those of its latents, which are random."""

    name: Literal["experiment"] = Field(description="Which network.")
    experiment: Name = Field(description="A name under `experiments`.")


Network = Annotated[Resnet | Unet | Unet2d | Albert | OwnModel, Field(discriminator="name")]
BenchmarkModel = Annotated[
    Resnet | Unet | Unet2d | Albert | OwnModel | OfExperiment, Field(discriminator="name")
]


class CellRun(Block):
    """How cells are run; never makes a result stale."""

    minutes_per_cell: float = Field(
        10.0, gt=0, description="A cell that takes longer is ended, and a row `timed out`."
    )


class CellMeasuring(Block):
    """What is measured of each cell, and on what data."""

    image_size: PositiveInt = Field(32, description="Pixels; of random images, as CIFAR-10's.")
    channels: PositiveInt = Field(3, description="Of random images or latents.")
    classes: PositiveInt = Field(10, description="Of the labels that resnets learn.")
    optimizer: Literal["adam", "sgd"] = Field(
        "adam", description="sgd: with momentum 0.9. Adam holds two moments of each weight."
    )
    learning_rate: float = Field(1e-4, gt=0, description="Of the optimiser.")
    micro_batches: PositiveInt = Field(
        4, description="Pieces that pipelines cut the batch of a step into."
    )
    powersgd_rank: PositiveInt = Field(
        1, description="Rank of the gradients that powersgd sends (Vogels et al. 2019)."
    )
    warmup_steps: int = Field(
        5,
        gt=STEPS_BEFORE_COMPRESSION,
        description="Steps before the measured ones; powersgd compresses from its third on.",
    )
    steps: PositiveInt = Field(20, description="Measured steps of a repetition, at least.")
    seconds: float = Field(3.0, ge=0, description="Time of a repetition, at least.")
    repetitions: PositiveInt = Field(3, description="Measurements of a cell; a row for each.")
    seed: Seed = Field(0, description="Of the weights and the random data.")
    cpus: PositiveInt = Field(
        1, description="CPU cores of each process: on CPUs, a part of what is measured."
    )
    memory_mb_per_process: PositiveInt | None = Field(
        None,
        description="Megabytes of its GPU, or on CPUs of memory, that a process may take: a cell "
        "that needs more is a row `out of memory`; null: what there is.",
    )


class Benchmark(CellMeasuring):
    """The grid: each combination is a cell, and each cell a job."""

    models: dict[Name, BenchmarkModel] = Field(
        min_length=1,
        description="Named models; unet and unet2d have the keys of an experiment's `model`.",
    )
    strategies: tuple[Strategy, ...] = Field(
        ("single", "ddp"),
        min_length=1,
        description="single: one process; ddp: gradients are averaged over processes; ddp-fp16, "
        "ddp-bf16: in 16 bits; powersgd: by low-rank factors; fsdp: each process holds a shard of "
        "the weights (fully_shard); pipeline-gpipe, pipeline-1f1b: each process holds a stage.",
    )
    precision: tuple[Precision, ...] = Field(
        ("fp32",),
        min_length=1,
        description="Of forward and backward passes; fp32 has TF32 on GPUs.",
    )
    batch_size: tuple[PositiveInt, ...] = Field(
        (32,), min_length=1, description="Samples of a step for each process."
    )
    processes: tuple[PositiveInt, ...] = Field(
        (1,), min_length=1, description="Of each node, one GPU each; CPU processes without GPUs."
    )
    nodes: tuple[PositiveInt, ...] = Field(
        (1,), min_length=1, description="More than one inside SLURM jobs only."
    )
    baselines: bool = Field(
        True, description="Also measure the `single` cells that scaling efficiencies compare with."
    )
    dataset: Name | None = Field(
        None,
        description="A name under `datasets`: its images, in place of random ones, at its size and "
        "channels. A model of an experiment takes those of its own dataset then; one of latents "
        "takes random ones.",
    )
    # What a user may give; a cell may have any number, of latents.
    channels: Literal[1, 3] = Field(3, description="Of random images.")
    run: CellRun = Field(default_factory=CellRun, description="How cells are run.")

    def problems(self) -> Iterator[str]:
        for key in ("strategies", "precision", "batch_size", "processes", "nodes"):
            values = getattr(self, key)
            if len(set(values)) < len(values):
                yield f"{key} = {list(values)}: give each value once"


class Cell(Block):
    """One combination of the grid. batch_size: samples of a step for each process."""

    model: Name
    strategy: Strategy
    precision: Precision
    batch_size: PositiveInt
    processes: PositiveInt  # of each node
    nodes: PositiveInt

    @property
    def world(self) -> int:
        """Processes of all nodes."""
        return self.processes * self.nodes

    @property
    def global_batch(self) -> int:
        """Samples of a step over all processes."""
        return self.batch_size * self.world


class CellStage(Block):
    """Everything that determines a cell's measurement: what its program takes as `--what`."""

    version: PositiveInt
    cell: Cell
    network: Network
    measuring: CellMeasuring = Field(default_factory=CellMeasuring)
    own_sha256: Sha256 | None = None  # of the file of a user's own model
    dataset: Name | None = None


class TablesStage(Block):
    """What decides the tables of the benchmark, but what was measured: the grid. The names of some
    thousand cells would be too long for a command."""

    version: PositiveInt
    models: tuple[Name, ...]
    strategies: tuple[Strategy, ...]
    precision: tuple[Precision, ...]
    batch_size: tuple[PositiveInt, ...]
    processes: tuple[PositiveInt, ...]
    nodes: tuple[PositiveInt, ...]
    baselines: bool


class FiguresStage(Block):
    """What decides the figures of the benchmark, but the table that they show."""

    version: PositiveInt
