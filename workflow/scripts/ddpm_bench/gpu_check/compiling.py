"""Part "compile": trainings compiled from an empty cache and from a kept one, and an eager one."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ddpm_bench.errors import UserError
from ddpm_bench.gpu_check.part import Check, ProgramError, Setting
from ddpm_bench.gpu_check.resuming import straight_training
from ddpm_bench.gpu_check.train_program import COMPILED, EndedProgram, Training, compiled_code
from ddpm_bench.text import counted, size_text
from ddpm_bench.training.accelerator import compiler_is_there

# The smallest network that there is: each of its kernels takes a CPU's compiler a second.
TINY = {
    "name": "unet2d",
    "block_out_channels": [4],
    "layers_per_block": 1,
    "attention_levels": [],
    "norm_num_groups": 4,
}
# Compiled code keeps values in float32 where eager code rounds them to bfloat16, and the other way:
# each differs by at most one rounding, 2^-8 of it. Their errors have both signs, so that the mean
# loss of ten steps differs by far less (a network of dim 8 on a CPU: 1e-5).
LOSS_TOLERANCE = 2**-8
READ_LOG = "read trainings/*.log (--parts compile --keep FOLDER)"


def check_compiling(setting: Setting) -> Iterator[Check]:
    """Yield seconds to the first step and steps per second, and a comparison of losses."""
    if not compiler_is_there():
        remedy = "part machine has the remedy"
        yield Check("compile", "fail", "no C compiler or no Python.h: nothing is compiled", remedy)
        return
    eager = None
    timed: dict[str, TrainingTimes] = {}
    cold = cold_training(setting)
    trainings = {
        "eager": replace(cold, name="eager", run={"compile": False}),
        "cold": cold,
        "kept": replace(cold, name="compiled-again"),
    }
    for kind, training in trainings.items():
        try:
            timed[kind] = times_of(training, training.done())
            losses = losses_of(training.metrics())
        except (ProgramError, UserError, OSError) as error:
            remedy = READ_LOG if kind == "eager" else f"{READ_LOG}; or run.compile: false"
            yield Check(f"training, {kind}", "fail", str(error), remedy)
            continue
        if kind == "eager":
            eager = losses
        elif eager is not None:
            yield judge_losses(f"losses, {kind}, beside eager ones", eager, losses)
        if kind == "cold":
            yield judge_cache(setting.folder / COMPILED)
    if len(timed) == len(trainings):
        # Part "resume" compiles for two trainings at once.
        beside = straight_training(setting, deterministic=True).record.exists()
        check = judge_times(timed, setting.batch_size)
        yield replace(check, numbers={**check.numbers, "two_compiled_at_once": beside})


def cold_training(setting: Setting) -> Training:
    """Return the training that compiles first: on a GPU that of part "resume", if it was run."""
    if setting.gpu:
        return straight_training(setting, deterministic=False)
    # Vector instructions and conversions are left out: they take a CPU's compiler longer.
    return Training(
        setting,
        "compiled",
        {"precision": "fp32"},
        {"compile": True},
        model=TINY,
        environment={**compiled_code(setting), "ATEN_CPU_CAPABILITY": "default"},
    )


@dataclass(frozen=True)
class TrainingTimes:
    """Seconds from the start of train.py to the end of its first step, and its later speed."""

    to_first_step: float
    images_per_second: float


def times_of(training: Training, ended: EndedProgram) -> TrainingTimes:
    """Return the times of a training that has ended."""
    return TrainingTimes(training.seconds_to_first_step(ended.began), training.speed())


def losses_of(metrics: str) -> list[float]:
    """Return the losses of the rows of metrics.csv, each the mean of ten steps.

    Raises ProgramError for a text that has none.
    """
    rows = list(csv.DictReader(metrics.splitlines()))
    if not rows or "loss" not in rows[0]:
        raise ProgramError("metrics.csv has no losses")
    return [float(row["loss"]) for row in rows]


def judge_cache(folder: Path) -> Check:
    """Return the check that torch.compile has kept code in a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    found = f"{counted(len(files), 'file')} of {size_text(size)}"
    if files:
        return Check("kept cache", "pass", found, numbers={"cache_mb": size / 1e6})
    remedy = f"{READ_LOG}: why was nothing compiled?"
    return Check("kept cache", "fail", "no file: nothing was compiled", remedy)


def judge_losses(name: str, eager: list[float], compiled: list[float]) -> Check:
    """Return the check of the first row of losses; the distance of later ones is measured.

    Later steps begin from weights that have gone apart.
    """
    if len(eager) != len(compiled):
        found = f"{len(compiled)} rows of losses, not {len(eager)}"
        return Check(name, "fail", found, READ_LOG)
    apart = [abs(one - other) / one for one, other in zip(eager, compiled, strict=True)]
    found = (
        f"first ten steps {compiled[0]:.6f}, eager {eager[0]:.6f}: {apart[0]:.1e} apart, tolerance "
        f"{LOSS_TOLERANCE:.1e}; later at most {max(apart):.1e}"
    )
    numbers = {"loss_relative_difference": apart[0], "later_loss_relative_difference": max(apart)}
    if apart[0] <= LOSS_TOLERANCE:  # not where it is not a number
        return Check(name, "pass", found, numbers=numbers)
    remedy = "train with run.compile: false on this machine, and send this report"
    return Check(name, "fail", found, remedy, numbers)


def judge_times(timed: dict[str, TrainingTimes], batch_size: int) -> Check:
    """Return the times; fail where the kept cache does not save time over compiling anew."""
    first = {kind: times.to_first_step for kind, times in timed.items()}
    steps = {kind: times.images_per_second / batch_size for kind, times in timed.items()}
    ratio = steps["kept"] / steps["eager"]
    found = (
        f"first step after {first['eager']:.0f} s eager, {first['cold']:.0f} s compiled, "
        f"{first['kept']:.0f} s from the kept cache; then {steps['eager']:.1f} and "
        f"{steps['kept']:.1f} steps/s, {ratio:.2f} times"
    )
    numbers = {f"{kind}_seconds_to_first_step": seconds for kind, seconds in first.items()}
    numbers |= {f"{kind}_steps_per_second": steps[kind] for kind in ("eager", "kept")}
    numbers["compiled_speed_over_eager"] = ratio
    if first["kept"] < first["cold"]:
        return Check("time of compiling", "measured", found, numbers=numbers)
    remedy = (
        "the kept cache saved nothing: may train.py write below the folder of its results, and is "
        "that no slow network drive?"
    )
    return Check("time of compiling", "fail", found, remedy, numbers)
