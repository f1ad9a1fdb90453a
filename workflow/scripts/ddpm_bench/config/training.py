"""`model:`, `diffusion:` and `train:`, what determines a trained model."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from .keys import Keys, PositiveInt, Seed


class Unet(Keys):
    """The U-Net of denoising-diffusion-pytorch."""

    name: Literal["unet"] = Field(description="Which network.")
    dim: PositiveInt = Field(64, ge=8, multiple_of=8, description="Channels of the first level.")
    dim_mults: tuple[PositiveInt, ...] = Field(
        (1, 2, 4, 8), min_length=1, description="Channels of each level, in multiples of `dim`."
    )
    attn_heads: PositiveInt = Field(4, description="Heads of each attention block.")
    attn_dim_head: PositiveInt = Field(32, description="Channels of each head.")

    def smallest_multiple(self) -> int:
        """Image sides must be multiples of this many pixels (one halving between levels)."""
        return 2 ** (len(self.dim_mults) - 1)


class Diffusion(Keys):
    """The forward process and what the network predicts."""

    timesteps: PositiveInt = Field(1000, ge=2, description="Steps of the forward process.")
    objective: Literal["pred_noise", "pred_x0", "pred_v"] = Field(
        "pred_v",
        description="What the network predicts (Ho et al. 2020; Salimans & Ho 2022 for v).",
    )
    beta_schedule: Literal["linear", "cosine", "sigmoid"] = Field(
        "sigmoid", description="Ho 2020, Nichol & Dhariwal 2021, Jabri 2022."
    )


class TrainRun(Keys):
    """How training is run; never makes a result stale."""

    gpus: PositiveInt = Field(
        1, description="Processes, one GPU each; CPU processes on a machine without GPUs."
    )
    cpus: PositiveInt = Field(2, description="CPU cores of each process.")
    micro_batch_size: PositiveInt | None = Field(
        None,
        description="Images per forward pass of one process; null: its whole share of the batch.",
    )
    compile: Literal["auto"] | bool = Field(
        "auto", description="torch.compile the network; auto: on GPUs only."
    )
    save_seconds: float = Field(300, gt=0, description="Time between saves of the resumable state.")
    steps_per_job: PositiveInt | None = Field(
        None, description="A job trains this many steps, the next goes on; null: one job."
    )


class Optimisation(Keys):
    """What a training job computes, whatever its first and last step."""

    batch_size: PositiveInt = Field(description="Images per optimiser step, over all processes.")
    checkpoint_every: PositiveInt = Field(description="Steps between checkpoints of EMA weights.")
    learning_rate: float = Field(1e-4, gt=0, description="Of Adam.")
    adam_betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (
        Field((0.9, 0.99), description="Of Adam.")
    )
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this norm.")
    ema_decay: float = Field(0.995, ge=0, lt=1, description="Decay of the averaged weights.")
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="Of the forward and backward pass."
    )
    seed: Seed = Field(0, description="Of the weights, the order of images and all noise.")
    deterministic: bool = Field(
        False, description="Deterministic GPU kernels: slower, and bit-exact resume on GPUs too."
    )


class Train(Optimisation):
    """The optimisation, how long it goes on, and how it is run."""

    steps: PositiveInt = Field(description="Optimiser steps; a multiple of checkpoint_every.")
    run: TrainRun = Field(default_factory=TrainRun, description="How training is run.")

    def problems(self) -> Iterator[str]:
        for name, value in (("steps", self.steps), ("run.steps_per_job", self.run.steps_per_job)):
            if value is not None and value % self.checkpoint_every:
                nearest = nearest_multiples(value, self.checkpoint_every)
                yield (
                    f"{name} = {value} must be a multiple of checkpoint_every = "
                    f"{self.checkpoint_every}; the nearest that are: {nearest}"
                )
        if self.batch_size % self.run.gpus:
            nearest = nearest_multiples(self.batch_size, self.run.gpus)
            yield (
                f"batch_size = {self.batch_size} must be a multiple of run.gpus = {self.run.gpus}; "
                f"the nearest that are: {nearest}"
            )
        share = self.batch_size // self.run.gpus
        micro = self.run.micro_batch_size
        if micro is not None and share % micro:
            sizes = ", ".join(str(size) for size in range(1, share + 1) if share % size == 0)
            yield (
                f"run.micro_batch_size = {micro} must divide the {share} images of each process; "
                f"sizes that do: {sizes}"
            )


def nearest_multiples(value: int, unit: int) -> str:
    """The multiples of `unit` on both sides of `value`, as text."""
    below, above = value // unit * unit, (value // unit + 1) * unit
    return f"{below} or {above}" if below else f"{above}"


class TrainStage(Keys):
    """Everything that determines a training: what its program takes as `--what`."""

    version: PositiveInt
    model: Unet
    diffusion: Diffusion = Field(default_factory=Diffusion)
    train: Optimisation
