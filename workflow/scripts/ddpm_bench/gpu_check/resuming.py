"""Part "resume": a training that is killed and started again, beside one that ran through."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest

import numpy as np

from ddpm_bench.gpu_check.part import Check, Setting
from ddpm_bench.gpu_check.photographs import prepared_dataset
from ddpm_bench.gpu_check.side_by_side import outcomes
from ddpm_bench.gpu_check.train_program import (
    CHECKPOINT_EVERY,
    COMPILED,
    STEPS,
    Training,
    compiled_code,
)

SAVE_SECONDS = 0.1  # so that a state is saved after the first step
Weights = dict[str, np.ndarray]
READ_LOG = "read trainings/*.log (--parts resume --keep FOLDER)"
REMEDIES = (
    f"{READ_LOG}; if it has no free GPU, allow two programs on it: nvidia-smi --compute-mode=0"
)


def straight_training(setting: Setting, deterministic: bool) -> Training:
    """Return the training that runs through, with the default of `compile`."""
    kind = "deterministic" if deterministic else "default"
    keys = {"deterministic": True} if deterministic else {}
    code = compiled_code(setting, f"{COMPILED}-deterministic" if deterministic else COMPILED)
    return Training(setting, f"straight-{kind}", keys, environment=code)


def check_resuming(setting: Setting) -> Iterator[Check]:
    """Yield checks of a killed training, with deterministic kernels and without.

    Both kinds run at the same time: most of their time is compiling, on the CPU. On the CPU all
    kernels are deterministic, and one kind is enough.
    """
    prepared_dataset(setting)  # before both of them want it
    kinds = (True, False) if setting.gpu else (True,)
    jobs = {_name(kind): partial(_killed_beside_straight, setting, kind) for kind in kinds}
    for name, found in outcomes(jobs).items():
        if isinstance(found, Exception):
            yield Check(name, "fail", str(found), REMEDIES)
        else:
            yield from found


def _name(deterministic: bool) -> str:
    return f"killed and started again, {'deterministic' if deterministic else 'default kernels'}"


def _killed_beside_straight(setting: Setting, deterministic: bool) -> list[Check]:
    straight = straight_training(setting, deterministic)
    straight.done()
    again = Training(
        setting,
        straight.name.replace("straight", "killed"),
        straight.train,
        {"save_seconds": SAVE_SECONDS},
        environment=straight.environment,  # so that only the first of the two compiles
    )
    again.killed()
    again.complete()
    name = _name(deterministic)
    begins = [event for event in again.events() if event["event"] in ("started", "resumed")]
    step = begins[-1]["step"]
    if step == 0:
        found = f"the second start began at step 0 again, not from a saved state of {again.folder}"
        return [Check(name, "fail", found, f"{READ_LOG}: it has a warning about the state")]
    checks = [judge_weights(name, step, compare_runs(straight, again), deterministic)]
    rows = differing_row(straight.metrics(), again.metrics())
    if deterministic:
        checks.append(judge_metrics(f"{name}: metrics.csv", rows))
    return checks


@dataclass(frozen=True)
class Difference:
    """The distance of two sets of weights.

    first: name of the first tensor that differs, None where none does; largest: of a value; rms:
    of all; change: rms of the weights' change in the training's later half.
    """

    first: str | None
    largest: float
    rms: float
    change: float


def compare_runs(straight: Training, again: Training) -> Difference:
    """Compare the averaged weights of the last step of two trainings."""
    ends = straight.weights(STEPS), again.weights(STEPS)
    return compare_weights(*ends, straight.weights(CHECKPOINT_EVERY))


def compare_weights(straight: Weights, again: Weights, earlier: Weights) -> Difference:
    """Compare weights bit by bit; earlier: those of `straight` some steps before.

    A tensor that is missing, has another shape or values that are not finite is infinitely far.
    """
    first, largest, squares, count = None, 0.0, 0.0, 0
    for name in sorted({*straight, *again}):
        one, other = straight.get(name), again.get(name)
        if one is None or other is None or one.shape != other.shape:
            return Difference(name, np.inf, np.inf, _change(straight, earlier))
        apart = np.abs(one.astype(np.float64) - other)
        if one.tobytes() != other.tobytes():
            first = first or name
        if not np.isfinite(apart).all():
            return Difference(first or name, np.inf, np.inf, _change(straight, earlier))
        largest = max(largest, float(apart.max(initial=0.0)))
        squares, count = squares + float((apart**2).sum()), count + one.size
    return Difference(first, largest, (squares / count) ** 0.5, _change(straight, earlier))


def _change(later: Weights, earlier: Weights) -> float:
    """Return the root mean square of the change of weights."""
    squares = sum(
        float(((later[name] - value).astype(np.float64) ** 2).sum())
        for name, value in earlier.items()
    )
    return (squares / sum(value.size for value in earlier.values())) ** 0.5


def judge_weights(name: str, step: int, apart: Difference, deterministic: bool) -> Check:
    """Return the check of a training that went on from a step: its distance to the straight one.

    Without deterministic kernels weights that are not finite, or further apart than training has
    moved them, fail; a smaller distance is measured.
    """
    numbers = {
        "resumed_from_step": step,
        "largest_difference": apart.largest,
        "rms_difference": apart.rms,
        "rms_change_of_weights": apart.change,
    }
    if apart.first is None:
        found = f"went on from step {step}; bit-identical weights at step {STEPS}"
        return Check(name, "pass", found, numbers=numbers)
    share = apart.rms / apart.change if apart.change else np.inf
    numbers["rms_difference_over_change"] = share
    found = (
        f"went on from step {step}; {apart.first} is the first tensor that differs; weights of "
        f"step {STEPS} differ by {apart.rms:.1e} rms, {apart.largest:.1e} at most, {share:.1%} of "
        f"their change after step {CHECKPOINT_EVERY}"
    )
    if deterministic:
        remedy = (
            "send this report to the maintainers: deterministic training is not exact here; "
            "run.compile: false may be, and is worth a try"
        )
        return Check(name, "fail", found, remedy, numbers)
    if share < 1:
        return Check(name, "measured", found, numbers=numbers)
    remedy = "a resumed training is another one here: send this report to the maintainers"
    return Check(name, "fail", found, remedy, numbers)


def differing_row(straight: str, again: str) -> tuple[str, str] | None:
    """Return the first line of two texts that differs, "" where one has ended; None if none."""
    pairs = zip_longest(straight.splitlines(), again.splitlines(), fillvalue="")
    return next(((one, other) for one, other in pairs if one != other), None)


def judge_metrics(name: str, row: tuple[str, str] | None) -> Check:
    """Return the check of the rows of metrics.csv. row: the first that differs, in both."""
    if row is None:
        return Check(name, "pass", "the same bytes")
    found = f"first row that differs: {row[0] or 'none'!r} straight, {row[1] or 'none'!r} killed"
    remedy = "if weights are bit-identical the losses' sums are not: send this report"
    return Check(name, "fail", found, remedy)
