"""`benchmark:`, the grid of the throughput benchmark: speed of training and its scaling."""

import math
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from ddpm_bench.config.block import (
    MOST_REPEATS,
    AtMost,
    BatchSize,
    Block,
    Channels,
    Cores,
    Gpus,
    Levels,
    Megabytes,
    Name,
    Nodes,
    PositiveInt,
    Repeats,
    Seed,
    Sha256,
)
from ddpm_bench.config.networks import Unet, Unet2d
from ddpm_bench.config.paths import InputFile
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
MOST_CELLS = 5000  # each is a job of some minutes
Pixels = Annotated[PositiveInt, AtMost(2048, "datasets have images of 2,048 pixels at most")]
Classes = Annotated[PositiveInt, AtMost(10**7, "no published network has as many")]


class Resnet(Block):
    """A residual network of torchvision with random weights (He et al. 2016)."""

    name: Literal["resnet18", "resnet50"] = Field(description="Name of the network.")


class Albert(Block):
    """ALBERT of transformers with random weights, which predicts tokens (Lan et al. 2020).

    All layers share their weights. The defaults are those of albert-base-v2. 15% of the tokens are
    masked (Devlin et al. 2019); the loss is that of all tokens, not of the masked ones alone.
    """

    name: Literal["albert"] = Field(description="Name of the network.")
    hidden_size: Channels = Field(768, description="Width of the layer.")
    intermediate_size: Channels = Field(3072, description="Width of its feed-forward part.")
    layers: Levels = Field(12, description="Number of times that the layer is applied.")
    attention_heads: Channels = Field(12, description="Attention heads.")
    embedding_size: Channels = Field(128, description="Width of the token embeddings.")
    vocabulary: Classes = Field(30_000, description="Number of different tokens.")
    sequence_length: PositiveInt = Field(128, le=512, description="Tokens in a sequence.")

    def problems(self) -> Iterator[str]:
        if self.hidden_size % self.attention_heads:
            yield (
                f"attention_heads = {self.attention_heads} must divide hidden_size = "
                f"{self.hidden_size}; numbers that do: {divisors(self.hidden_size)}"
            )


class OwnModel(Block):
    """Your own model: a Python file with a function that returns model, batch and loss."""

    name: Literal["own"] = Field(description="Name of the network.")
    path: InputFile = Field(
        description="The Python file. It is executed, so name only files that you trust."
    )
    function: str = Field(
        "build",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Name of the function. It is called with the number of samples in a batch and "
        "returns (model, (inputs, targets), loss); see docs/benchmark.md.",
    )


class OfExperiment(Block):
    """The network of an experiment, at the image size and channels of its dataset.

    If the experiment has an `autoencoder`, at the size and channels of its latents; the latents
    are random.
    """

    name: Literal["experiment"] = Field(description="Name of the network.")
    experiment: Name = Field(description="A name under `experiments`.")


Network = Annotated[Resnet | Unet | Unet2d | Albert | OwnModel, Field(discriminator="name")]
BenchmarkModel = Annotated[
    Resnet | Unet | Unet2d | Albert | OwnModel | OfExperiment, Field(discriminator="name")
]


class CellRun(Block):
    """Settings of running cells, which never make a result stale."""

    minutes_per_cell: float = Field(
        10.0, gt=0, description="Time limit of a cell, after which its row reads `timed out`."
    )


class CellMeasuring(Block):
    """Settings of the measurement of each cell, and its data."""

    image_size: Pixels = Field(32, description="Side of random images in pixels; CIFAR-10 has 32.")
    channels: Channels = Field(3, description="Channels of random images or latents.")
    classes: Classes = Field(10, description="Number of classes of the resnets.")
    optimizer: Literal["adam", "sgd"] = Field(
        "adam",
        description="Optimiser. sgd has momentum 0.9; adam stores two moments of each weight.",
    )
    learning_rate: float = Field(1e-4, gt=0, description="Learning rate of the optimiser.")
    micro_batches: BatchSize = Field(
        4, description="Number of micro-batches into which pipelines split the batch of a step."
    )
    powersgd_rank: Channels = Field(
        1, description="Rank of the compressed gradients of powersgd (Vogels et al. 2019)."
    )
    warmup_steps: Annotated[int, MOST_REPEATS] = Field(
        5,
        gt=STEPS_BEFORE_COMPRESSION,
        description="Steps before the measured ones; powersgd compresses from the third step on.",
    )
    steps: Repeats = Field(20, description="Fewest steps of a repetition.")
    seconds: float = Field(3.0, ge=0, description="Shortest time of a repetition.")
    repetitions: Repeats = Field(3, description="Measurements of each cell; each is a row.")
    seed: Seed = Field(0, description="Seed of the weights and the random data.")
    cpus: Cores = Field(
        1, description="CPU cores of each process; without GPUs the speed depends on them."
    )
    memory_mb_per_process: Megabytes | None = Field(
        None,
        description="Memory limit of a process in megabytes: of its GPU, or of main memory on "
        "CPUs. The row of a cell that needs more reads `out of memory`; null: all that is free.",
    )


class Benchmark(CellMeasuring):
    """The grid: each combination is a cell, and each cell a job."""

    models: dict[Name, BenchmarkModel] = Field(
        min_length=1,
        description="Named models; unet and unet2d take the keys of an experiment's `model`.",
    )
    strategies: tuple[Strategy, ...] = Field(
        ("single", "ddp"),
        min_length=1,
        description="single: one process; ddp: gradients are averaged over processes; ddp-fp16, "
        "ddp-bf16: gradients are sent in 16 bits; powersgd: gradients are sent as low-rank "
        "factors; fsdp: each process holds a shard of the weights (fully_shard); pipeline-gpipe, "
        "pipeline-1f1b: each process holds a stage.",
    )
    precision: tuple[Precision, ...] = Field(
        ("fp32",),
        min_length=1,
        description="Precision of forward and backward passes; fp32 uses TF32 on GPUs.",
    )
    batch_size: tuple[BatchSize, ...] = Field(
        (32,), min_length=1, description="Samples per step and process."
    )
    processes: tuple[Gpus, ...] = Field(
        (1,),
        min_length=1,
        description="Processes of each node, with one GPU each; on CPUs if there are no GPUs.",
    )
    nodes: tuple[Nodes, ...] = Field(
        (1,), min_length=1, description="Number of nodes; more than one only inside SLURM jobs."
    )
    baselines: bool = Field(
        True, description="Also measure the `single` cells that scaling efficiencies compare with."
    )
    dataset: Name | None = Field(
        None,
        description="A name under `datasets`, whose images replace random ones, at their size and "
        "channels. Models of experiments then use the images of their own datasets, or random "
        "latents; null: random images.",
    )
    # A user gives 1 or 3; cells of latents may have any number.
    channels: Literal[1, 3] = Field(3, description="Channels of random images.")
    run: CellRun = Field(default_factory=CellRun, description="Settings of running cells.")

    def problems(self) -> Iterator[str]:
        for key in ("strategies", "precision", "batch_size", "processes", "nodes"):
            values = getattr(self, key)
            if len(set(values)) < len(values):
                yield f"{key} = {list(values)}: give each value once"
        grid = (self.models, self.strategies, self.precision, self.batch_size, self.processes)
        cells = math.prod(map(len, (*grid, self.nodes)))
        if cells > MOST_CELLS:
            yield f"its grid has {cells:,} cells, more than {MOST_CELLS:,}; give fewer values"


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
    """All that determines a cell's measurement: `--what` of measure_cell.py."""

    version: PositiveInt
    cell: Cell
    network: Network
    measuring: CellMeasuring = Field(default_factory=CellMeasuring)
    own_sha256: Sha256 | None = None  # of the file of a user's own model
    dataset: Name | None = None


class TablesStage(Block):
    """All that decides the benchmark's tables besides the measurements: the grid.

    The grid is given instead of its cells, whose names would be too long for a command.
    """

    version: PositiveInt
    models: tuple[Name, ...]
    strategies: tuple[Strategy, ...]
    precision: tuple[Precision, ...]
    batch_size: tuple[PositiveInt, ...]
    processes: tuple[PositiveInt, ...]
    nodes: tuple[PositiveInt, ...]
    baselines: bool


class FiguresStage(Block):
    """All that decides the benchmark's figures besides the table that they show."""

    version: PositiveInt
