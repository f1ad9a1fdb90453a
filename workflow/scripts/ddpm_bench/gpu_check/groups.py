"""Part "groups": two processes on one GPU over gloo, and one over NCCL, against one alone.

NCCL refuses two processes on one GPU, so those communicate over gloo, which takes tensors on GPUs
in the collectives that data-parallel training needs.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ddpm_bench.files import read_json
from ddpm_bench.gpu_check.group_processes import GroupPlan, started_group, wait_for
from ddpm_bench.gpu_check.part import Check, Setting, last_lines
from ddpm_bench.gpu_check.photographs import prepared_dataset
from ddpm_bench.machine.compute_device import gpu_is_usable

MOST_NORM_DIFFERENCE = 1e-4  # relative, of the gradients' norm; 0 on a CPU
MOST_UPDATE_DIFFERENCE = 0.02  # relative, of what all steps change in the weights; 5e-6 on a CPU
LOG = "run it alone and read its log: --parts groups --keep FOLDER"


ALONE = GroupPlan("one process alone", None, 1)


def plans(gpu: bool) -> list[GroupPlan]:
    """Return the groups to check; with stand-ins gloo takes the place of NCCL."""
    return [
        ALONE,
        GroupPlan("two processes over gloo", "gloo", 2),
        GroupPlan(*(("one process over NCCL", "nccl") if gpu else ("one over gloo", "gloo")), 1),
    ]


def check_groups(setting: Setting) -> Iterator[Check]:
    """Yield checks of each group's collectives, and of a training that it shares."""
    gpu_is_usable()  # raises UserError with one line, instead of a traceback for each group
    images = prepared_dataset(setting) / "train.npy"
    groups = {}
    for plan in plans(setting.gpu):  # at the same time: most of it is waiting for imports
        folder = setting.folder / "groups" / plan.name.replace(" ", "-")
        folder.mkdir(parents=True)
        groups[plan] = folder, started_group(plan, setting, images, folder)
    found: dict[GroupPlan, list[Path]] = {}
    for plan, (folder, group) in groups.items():
        try:
            wait_for(group)
        except Exception as error:  # of torch's processes, of several kinds
            reason = f"{type(error).__name__}: {last_lines(str(error))}"
            yield Check(plan.name, "fail", reason, remedy_of(plan))
            continue
        found[plan] = [folder / f"{rank}.json" for rank in range(plan.processes)]
        if plan.backend is not None:
            yield from collective_checks(plan, [read_json(path) for path in found[plan]])
    yield from _training_checks(found)


def _training_checks(found: dict[GroupPlan, list[Path]]) -> Iterator[Check]:
    """Yield the comparison of each group's training with that of a process alone."""
    if ALONE not in found:
        return
    alone = trained(found[ALONE])
    for plan, paths in found.items():
        if plan != ALONE:
            yield training_check(plan, trained(paths), alone)


@dataclass(frozen=True)
class TrainedGroup:
    """Training steps of a group: norms of the gradients [steps] and the weights' change [D].

    Both by rank. The weights' change is float32. processes: as each of them has counted them.
    """

    processes: list[int]
    norms: list[list[float]]
    changes: list[np.ndarray]


def trained(paths: list[Path]) -> TrainedGroup:
    """Read what the processes of a group have written, by rank."""
    reports = [read_json(path) for path in paths]
    changes = [np.load(path.with_suffix(".npy"), allow_pickle=False) for path in paths]
    processes = [report["processes"] for report in reports]
    return TrainedGroup(processes, [report["grad_norms"] for report in reports], changes)


def remedy_of(plan: GroupPlan) -> str:
    """Return what to do about a group that does not work."""
    if plan.backend == "nccl":
        return (
            "run again with NCCL_DEBUG=INFO and read the log (--parts groups --keep FOLDER); "
            "is /dev/shm at least 1 GB large, and NCCL that of torch's wheel?"
        )
    return LOG


def collective_checks(plan: GroupPlan, reports: list[dict[str, Any]]) -> Iterator[Check]:
    """Yield one check of all collectives of a group, from the reports of its processes."""
    wrong = {
        name: outcome
        for report in reports
        for name, outcome in report["collectives"].items()
        if outcome != "right"
    }
    count = len(reports[0]["collectives"])
    name = f"{plan.name}: collectives"
    if not wrong:
        yield Check(name, "pass", f"{count} with right results on {reports[0]['device']}")
        return
    some = "; ".join(f"{key}: {outcome}" for key, outcome in wrong.items())
    yield Check(name, "fail", f"{len(wrong)} of {count}: {some}", remedy_of(plan))


def training_check(plan: GroupPlan, ours: TrainedGroup, alone: TrainedGroup) -> Check:
    """Check that a group trains as one process does, up to the order of sums.

    All processes must have the same weights, to the last bit.
    """
    name = f"{plan.name}: training"
    norm = norm_difference(ours.norms, alone.norms[0])
    change = relative_difference(ours.changes[0], alone.changes[0])
    numbers = {"gradient_norm_difference_relative": norm, "weight_change_difference": change}
    found = (
        f"gradients' norms {norm:.1e}, changes of the weights {change:.1e} (relative) from those "
        f"of one process, in {len(alone.norms[0])} steps"
    )
    if set(ours.processes) != {plan.processes}:
        found = f"its processes count {sorted(set(ours.processes))} processes; {found}"
    elif any(not np.array_equal(ours.changes[0], other) for other in ours.changes[1:]):
        found = f"its processes have different weights; {found}"
    elif norm <= MOST_NORM_DIFFERENCE and change <= MOST_UPDATE_DIFFERENCE:
        return Check(name, "pass", found, numbers=numbers)
    remedy = (
        "gradients are not averaged as they must be: train with run.gpus: 1 only, and report the "
        "GPU, driver, torch and accelerate"
    )
    return Check(name, "fail", found, remedy, numbers)


def norm_difference(norms: list[list[float]], alone: list[float]) -> float:
    """Return the largest relative difference of norms from those alone; inf if not finite."""
    differences = [
        abs(one - other) / other if other > 0 else math.inf
        for own in norms
        for one, other in zip(own, alone, strict=True)
    ]
    return max(item if math.isfinite(item) else math.inf for item in differences)


def relative_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the norm of the difference over that of `theirs`; inf if it is not finite."""
    length = float(np.linalg.norm(theirs))
    difference = float(np.linalg.norm(ours - theirs))
    return difference / length if length > 0 and math.isfinite(difference) else math.inf
