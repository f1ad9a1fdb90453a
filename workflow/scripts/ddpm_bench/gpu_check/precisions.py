"""Part "precisions": trainings with the same draws in float32, TF32, bfloat16 and float16."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ddpm_bench.config.training import TrainRun, TrainStage
from ddpm_bench.config.versions import VERSIONS
from ddpm_bench.gpu_check.part import Check, Setting, last_lines
from ddpm_bench.gpu_check.photographs import prepared_dataset
from ddpm_bench.machine.compute_device import round_to_tf32
from ddpm_bench.training.accelerator import build_accelerator
from ddpm_bench.training.trainer import Trainer

STEPS = 30
TIMED = 15  # the last of them
# Bits of the significand after the leading one; half of the last is the error of one rounding.
SIGNIFICAND_BITS = {"tf32": 10, "bf16": 7, "fp16": 10}
ON_GPU, ON_CPU = ("fp32", "tf32", "bf16", "fp16"), ("fp32", "bf16", "fp16")
# The loss of the first step is of the same weights and draws. Rounding errors of activations have
# both signs, and the mean over a batch has 10^4 values and more: less than one rounding is left.
# The weights of later steps go apart: a few are allowed for in the mean of losses.
ROUNDINGS, LATER_ROUNDINGS = 1, 4
MOST_SKIPPED = 10  # steps of fp16, each of which halves the loss scale of 2^16


@dataclass(frozen=True)
class Losses:
    """A training: the loss and gradient norm of each step, and its speed.

    Norms are not finite where a step was skipped. images_per_second: of the last TIMED steps;
    scale: the last loss scale.
    """

    losses: tuple[float, ...]
    norms: tuple[float, ...]
    images_per_second: float
    scale: float

    def skipped(self) -> list[int]:
        """Return the skipped steps, counted from 0."""
        return [step for step, norm in enumerate(self.norms) if not math.isfinite(norm)]


def check_precisions(setting: Setting) -> Iterator[Check]:
    """Yield a check of each precision against float32 without TF32. Nothing is compiled."""
    images = np.load(prepared_dataset(setting) / "train.npy", mmap_mode="r")
    exact = None
    for precision in ON_GPU if setting.gpu else ON_CPU:
        try:
            trained = train(setting, images, precision)
        except Exception as error:  # of whatever kind: the other precisions still train
            found = f"{type(error).__name__}: {last_lines(str(error))}"
            yield Check(precision, "fail", found, f"leave out train.precision {precision} here")
            continue
        if precision == "fp32":
            exact = trained
            yield judge_exact(trained)
        elif exact is None:
            yield Check(precision, "not run", "nothing to compare with", "mend fp32 first")
        else:
            yield judge(precision, trained, exact)
        if precision == "fp16":
            yield judge_scale(trained)


def train(setting: Setting, images: np.ndarray, precision: str) -> Losses:
    """Train some steps. images: uint8 [N, H, W, C]; precision: one of ON_GPU."""
    keys = {"batch_size": setting.batch_size, "checkpoint_every": STEPS}
    keys["precision"] = "fp32" if precision == "tf32" else precision
    stage = TrainStage.model_validate(
        {"version": VERSIONS["train"], "model": setting.model(), "train": keys}
    )
    run = TrainRun(compile=False)
    accelerator = build_accelerator(stage.train, run, setting.folder)
    if precision == "fp32":  # which has TF32 on by default
        round_to_tf32(False)
    trainer = Trainer(stage, run, images, accelerator, Path(setting.folder, "unused"))
    trainer.begin()
    steps = []
    for step in range(STEPS):
        if step == STEPS - TIMED:
            began = _now(trainer.device)
        steps.append(trainer.train_one_step())
    seconds = _now(trainer.device) - began
    losses, norms = torch.stack(steps).double().T.tolist()
    speed = TIMED * setting.batch_size / seconds
    return Losses(tuple(losses), tuple(norms), speed, trainer.optimizer.scale.item())


def _now(device: torch.device) -> float:
    """Return seconds of a clock when the device has done all that it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def judge_exact(exact: Losses) -> Check:
    """Return the check of float32: its losses are finite, and fall."""
    finite = all(map(math.isfinite, (*exact.losses, *exact.norms)))
    found = (
        f"losses {exact.losses[0]:.4f} to {exact.losses[-1]:.4f}, "
        f"{exact.images_per_second:.0f} images/s, not compiled, without TF32"
    )
    numbers = {"fp32_images_per_second": exact.images_per_second}
    if finite:
        return Check("fp32", "pass", found, numbers=numbers)
    remedy = "float32 must be finite: run the vendor's diagnostics (dcgmi diag) on this GPU"
    return Check("fp32", "fail", found, remedy, numbers)


def judge(precision: str, trained: Losses, exact: Losses) -> Check:
    """Return the check of a precision against float32: losses, with its speed.

    The loss of the first step, and the mean up to the first skipped one: see ROUNDINGS.
    """
    rounding = 2.0 ** -(SIGNIFICAND_BITS[precision] + 1)
    first = abs(trained.losses[0] - exact.losses[0]) / exact.losses[0]
    last = min(trained.skipped(), default=len(trained.losses) - 1)  # later ones are a step behind
    ours, theirs = (sum(one.losses[: last + 1]) for one in (trained, exact))
    mean = abs(ours - theirs) / theirs
    finite = all(map(math.isfinite, trained.losses))
    limits = ROUNDINGS * rounding, LATER_ROUNDINGS * rounding
    ratio = trained.images_per_second / exact.images_per_second
    found = (
        f"first loss {first:.1e} from float32's (at most {limits[0]:.1e}), mean loss {mean:.1e} "
        f"(at most {limits[1]:.1e}); {ratio:.2f} times its images/s"
    )
    numbers = {
        f"{precision}_first_loss_relative_difference": first,
        f"{precision}_mean_loss_relative_difference": mean,
        f"{precision}_images_per_second": trained.images_per_second,
        f"{precision}_speed_over_fp32": ratio,
    }
    if finite and first <= limits[0] and mean <= limits[1]:
        return Check(precision, "pass", found, numbers=numbers)
    remedy = "train with another train.precision on this machine, and send this report"
    return Check(precision, "fail", found, remedy, numbers)


def judge_scale(trained: Losses) -> Check:
    """Return the check of float16's loss scale: few steps are skipped, none in the later half."""
    skipped = trained.skipped()
    found = f"{trained.scale:g} after {len(trained.losses)} steps, {len(skipped)} of them skipped"
    numbers = {"fp16_loss_scale": trained.scale, "fp16_skipped_steps": len(skipped)}
    if len(skipped) <= MOST_SKIPPED and all(step < len(trained.norms) / 2 for step in skipped):
        return Check("fp16's loss scale", "pass", found, numbers=numbers)
    found = f"{found}, the last at step {skipped[-1] + 1}: gradients overflow again and again"
    return Check("fp16's loss scale", "fail", found, "train with precision bf16 or fp32", numbers)
