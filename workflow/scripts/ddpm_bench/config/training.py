"""`train:`, the optimisation of a model."""

import math
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from ddpm_bench.config.block import (
    MOST_CHECKPOINTS,
    MOST_IMAGES,
    MOST_STEPS,
    BatchSize,
    Block,
    Cores,
    Failing,
    Gpus,
    Nodes,
    PositiveInt,
    Seed,
    Sha256,
    Steps,
)
from ddpm_bench.config.diffusion import Diffusion
from ddpm_bench.config.networks import LatentShape, Unet, Unet2d, VqVae
from ddpm_bench.config.paths import InputFile

# Schedules of the learning rate that depend on the length of the training.
WITH_LENGTH = ("cosine", "one-cycle")
# Keys of `train` that decide which weights are kept, not their values.
KEYS_OF_KEPT_WEIGHTS = frozenset({"checkpoint_every"})
Decay = Annotated[float, Field(ge=0, lt=1)]
VALIDATION_BATCH = 64  # images per forward pass of validation, unless the micro-batch is smaller
# Everything that is trained: the networks of experiments, and of autoencoders.
Trained = Annotated[Unet | Unet2d | VqVae, Field(discriminator="name")]


class TrainRun(Failing):
    """Settings of running training, which never make a result stale."""

    gpus: Gpus = Field(
        1,
        description="Processes of a node, with one GPU each; on CPUs if there are no GPUs.",
    )
    nodes: Nodes = Field(
        1,
        description="Nodes with `gpus` processes each; more than one only inside SLURM jobs.",
    )
    cpus: Cores = Field(2, description="CPU cores of each process.")
    micro_batch_size: BatchSize | None = Field(
        None,
        description="Images per forward pass of a process; null: its whole share of the batch.",
    )
    activation_checkpointing: bool = Field(
        False,
        description="Compute activations again in the backward pass: less memory, a third more "
        "work (Chen et al. 2016).",
    )
    compile: Literal["auto"] | bool = Field(
        "auto", description="Compile the network with torch.compile; auto: on GPUs only."
    )
    save_seconds: float = Field(300, gt=0, description="Time between saves of the resumable state.")
    steps_per_job: Steps | None = Field(
        None, description="Training steps of one job, which the next continues; null: one job."
    )
    tracker: Literal["tensorboard"] | None = Field(
        None, description="tensorboard: write losses and speed also as TensorBoard events."
    )

    @property
    def processes(self) -> int:
        """Processes on all nodes."""
        return self.nodes * self.gpus


class GivenWeights(Block):
    """Initial weights of a training, for transfer learning.

    They are the same network's, from a checkpoint of this project (.safetensors) or of
    denoising-diffusion-pytorch's Trainer (model-*.pt).
    """

    path: InputFile = Field(
        description="The file; another path to the same content makes nothing stale."
    )
    sha256: Sha256 = Field(description="Its checksum, `sha256sum FILE`.")


class Optimisation(Block):
    """Keys that decide the steps of a training, but not their number."""

    batch_size: BatchSize = Field(description="Images per optimiser step, over all processes.")
    checkpoint_every: Steps = Field(description="Steps between checkpoints of EMA weights.")
    learning_rate: float = Field(1e-4, gt=0, description="Highest learning rate of the schedule.")
    lr_schedule: Literal["constant", "cosine", "one-cycle"] = Field(
        "constant",
        description="Learning rate over time. cosine: falls to 0 (Loshchilov & Hutter 2017); "
        "one-cycle: rises from a 25th, then falls to a 250,000th (Smith & Topin 2018, as torch's "
        "OneCycleLR).",
    )
    lr_schedule_steps: Steps | None = Field(
        None,
        description="Length of cosine and one-cycle; null: `steps`, so that raising `steps` starts "
        "the training again.",
    )
    warmup_steps: Annotated[int, MOST_STEPS] = Field(
        0, ge=0, description="Steps of a linear rise from 0 before constant and cosine."
    )
    optimizer: Literal["adam", "adamw"] = Field(
        "adam",
        description="Optimiser. adamw: Adam with decoupled weight decay (Loshchilov 2019).",
    )
    adam_betas: tuple[Decay, Decay] = Field(
        (0.9, 0.99), description="Exponential decay rates of the moment estimates."
    )
    adam_eps: float = Field(1e-8, gt=0, description="Number added to the denominator.")
    weight_decay: float = Field(0.0, ge=0, description="Weight decay; an L2 penalty with adam.")
    max_grad_norm: float | None = Field(
        1.0, gt=0, description="Norm to which gradients are clipped; null: no clipping."
    )
    min_snr_gamma: float | None = Field(
        None, gt=0, description="SNR at which loss weights are clipped (Hang et al. 2023 use 5)."
    )
    offset_noise: float = Field(
        0.0,
        ge=0,
        description="Strength of additional noise that is constant in each channel (0.1 is usual).",
    )
    horizontal_flips: bool = Field(False, description="Mirror half of the images at random.")
    ema_decay: Decay = Field(0.995, description="Decay of the averaged weights.")
    ema_sigma_rels: tuple[Annotated[float, Field(gt=0, lt=0.28)], ...] = Field(
        (),
        max_length=16,
        description="Widths of further averages, saved with each checkpoint: power-function EMA "
        "(Karras et al. 2024 use 0.05 and 0.1).",
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32",
        description="Precision of the forward and backward pass; fp32 uses TF32 products on GPUs "
        "unless deterministic; fp16 uses loss scaling.",
    )
    init_from: GivenWeights | None = Field(
        None, description="Initial weights; null: drawn from the seed."
    )
    seed: Seed = Field(0, description="Seed of the weights, the order of images and all noise.")
    deterministic: bool = Field(
        False,
        description="Use deterministic GPU kernels: slower, but resuming is bit-exact on GPUs too.",
    )

    def problems(self) -> Iterator[str]:
        if self.lr_schedule == "one-cycle" and self.warmup_steps:
            yield "warmup_steps: one-cycle has a rise of its own; remove it"
        if self.lr_schedule not in WITH_LENGTH and self.lr_schedule_steps is not None:
            yield f"lr_schedule_steps is an option of {' and '.join(WITH_LENGTH)}; remove it"
        if len(set(self.ema_sigma_rels)) < len(self.ema_sigma_rels):
            yield f"ema_sigma_rels = {list(self.ema_sigma_rels)}: give each width once"


class Train(Optimisation):
    """The optimisation, its length, and the settings of running it."""

    steps: Steps = Field(description="Optimiser steps; a multiple of checkpoint_every.")
    run: TrainRun = Field(default_factory=TrainRun, description="Settings of running training.")

    def schedule_length(self) -> int | None:
        """Return the length of the learning rate's schedule in steps; None if it has none."""
        if self.lr_schedule not in WITH_LENGTH:
            return None
        return self.lr_schedule_steps or self.steps

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        for name, value in (("steps", self.steps), ("run.steps_per_job", self.run.steps_per_job)):
            if value is not None and value % self.checkpoint_every:
                nearest = nearest_multiples(value, self.checkpoint_every)
                yield (
                    f"{name} = {value} must be a multiple of checkpoint_every = "
                    f"{self.checkpoint_every}; the nearest that are: {nearest}"
                )
        run = self.run
        if self.batch_size % run.processes:
            nodes = f" on run.nodes = {run.nodes}" if run.nodes > 1 else ""
            yield f"run.gpus = {run.gpus}{nodes}: {misfit(self.batch_size, run.processes)}"
        elif self.run.micro_batch_size is not None:
            share = self.batch_size // run.processes
            if share % self.run.micro_batch_size:
                yield unfit_micro_batch(self.run.micro_batch_size, share)
        yield from self._too_many_pieces()
        if self.lr_schedule_steps is not None and self.lr_schedule_steps < self.steps:
            yield (
                f"lr_schedule_steps = {self.lr_schedule_steps} is below steps = {self.steps}: "
                "nothing would be learnt after it; raise it to the longest training you plan"
            )
        length = self.schedule_length() or math.inf
        if self.warmup_steps >= length:
            yield f"warmup_steps = {self.warmup_steps} must be below the {length} of the schedule"

    def _too_many_pieces(self) -> Iterator[str]:
        """Yield the keys by which a training is cut into too many checkpoints or jobs."""
        per_job = self.run.steps_per_job or self.steps
        for name, each, kind in (
            ("checkpoint_every", self.checkpoint_every, "checkpoints"),
            ("run.steps_per_job", per_job, "jobs"),
        ):
            if self.steps // each > MOST_CHECKPOINTS:
                yield (
                    f"{name} = {each} makes {self.steps // each:,} {kind} of {self.steps:,} "
                    f"steps, more than {MOST_CHECKPOINTS:,}; raise it"
                )


def nearest_multiples(value: int, unit: int) -> str:
    """Return the multiples of `unit` on both sides of `value`, as text."""
    below, above = value // unit * unit, (value // unit + 1) * unit
    return f"{below} or {above}" if below else f"{above}"


def divisors(value: int) -> str:
    """Return the numbers that divide `value`, as text."""
    small = [size for size in range(1, math.isqrt(value) + 1) if value % size == 0]
    return ", ".join(map(str, sorted({*small, *(value // size for size in small)})))


def unfit_micro_batch(size: int, share: int) -> str:
    """Return a message for a micro-batch that does not divide the images of a process."""
    return (
        f"run.micro_batch_size = {size} must divide the {share} images of each process; sizes "
        f"that do: {divisors(share)}"
    )


def misfit(batch_size: int, processes: int) -> str:
    """Return a message for a batch that does not divide over the processes."""
    return (
        f"batch_size = {batch_size} does not divide over {processes} processes; the nearest that "
        f"does: {nearest_multiples(batch_size, processes)}; numbers of processes that divide "
        f"{batch_size}: {divisors(batch_size)}"
    )


class TrainStage(Block):
    """All that determines a training: `--what` of train.py.

    diffusion: for denoising networks. latents: shape of the training data if they are an
    autoencoder's latents.
    """

    version: PositiveInt
    model: Trained
    diffusion: Diffusion = Field(default_factory=Diffusion)
    latents: LatentShape | None = None
    train: Optimisation

    def problems(self) -> Iterator[str]:
        if self.train.lr_schedule in WITH_LENGTH and self.train.lr_schedule_steps is None:
            yield f"train.lr_schedule_steps: {self.train.lr_schedule} needs its length"


class Validation(Block):
    """The loss of each checkpoint on held-out and on training images, at fixed noise."""

    images: Annotated[int, MOST_IMAGES] = Field(
        512, ge=0, description="Images of each split at most; 0: no validation loss."
    )
    seed: Seed = Field(0, description="Seed of the noise and timesteps.")


class ValidateStage(Block):
    """All that determines validation losses besides the weights: `--what` of validate.py."""

    version: PositiveInt
    model: Trained
    diffusion: Diffusion = Field(default_factory=Diffusion)
    min_snr_gamma: float | None = None
    validation: Validation = Field(default_factory=Validation)
