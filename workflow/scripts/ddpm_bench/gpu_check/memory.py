"""Part "memory": peaks of trainings and of sampling, against the limit and what jobs ask for."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddpm_bench.config.loading import check_config
from ddpm_bench.config.versions import VERSIONS
from ddpm_bench.errors import UserError
from ddpm_bench.gpu_check.part import SCRIPTS, Check, ProgramError, Setting
from ddpm_bench.gpu_check.photographs import photographs
from ddpm_bench.gpu_check.resuming import straight_training
from ddpm_bench.gpu_check.train_program import (
    CHECKPOINT_EVERY,
    STEPS,
    EndedProgram,
    Training,
    complete,
)
from ddpm_bench.planning.memory_estimates import MemoryEstimates
from ddpm_bench.records.failures import RecordedFailure, read_failed

ENOUGH = 2  # times what a training asks for, as its second attempt does
TOO_LITTLE = 1 / 3  # of a training's peak: none fits into that
SMALL_PEAK = 600  # megabytes, where none was measured
KEY = "run.memory_mb_per_process"
SAMPLING = {"scheduler": "ddim", "steps": 5, "batch_size": 16}
READ_LOG = "read trainings/*.log (--parts memory --keep FOLDER)"
# Runs a program to its end, whatever that is, and prints its peaks on the GPU in bytes.
MEASURED = """
import json, runpy, sys
del sys.argv[0]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    import torch
    used = torch.cuda.is_available()
    allocated = torch.cuda.max_memory_allocated() if used else 0
    reserved = torch.cuda.max_memory_reserved() if used else 0
    print(json.dumps({"allocated": allocated, "reserved": reserved}))
"""


@dataclass(frozen=True)
class Peaks:
    """Peak memory of a program in megabytes of 10^6 bytes, on the host and on the GPU."""

    host_mb: float
    allocated_mb: float
    reserved_mb: float

    @classmethod
    def of(cls, ended: EndedProgram) -> "Peaks":
        """Return the peaks of a program that `measured` has run."""
        gpu = json.loads(ended.output.splitlines()[-1])
        return cls(ended.peak_mb, gpu["allocated"] / 1e6, gpu["reserved"] / 1e6)


def check_memory(setting: Setting) -> Iterator[Check]:
    """Yield peaks of train.py and sample.py, and the end of a training with too little memory."""
    asked = Asked.of(setting)
    try:
        peaks = _trained_within(setting, ENOUGH * asked.training_mb)
    except (ProgramError, UserError, OSError) as error:
        remedy = f"{READ_LOG}; {KEY} {ENOUGH * asked.training_mb} should be enough for it"
        yield Check("training within its limit", "fail", str(error), remedy)
        peaks = None
    else:
        yield from judge_peaks("train.py", peaks, asked.training_mb, setting.gpu)
        yield from _sampled(setting, asked.sampling_mb)
    try:
        yield _trained_within_too_little(setting, peaks)
    except (ProgramError, UserError, OSError) as error:
        found = f"not recorded: {error}"
        yield Check("training with too little memory", "fail", found, READ_LOG)
    compiled = straight_training(setting, deterministic=False)
    if setting.gpu and compiled.record.exists():  # of part "resume" or "compile"
        host = Peaks(compiled.done().peak_mb, 0, 0)
        yield from judge_peaks("train.py, compiling", host, asked.compiled_mb, gpu=False)


@dataclass(frozen=True)
class Asked:
    """Memory that jobs like these ask for, in megabytes of 10^6 bytes."""

    training_mb: int
    compiled_mb: int
    sampling_mb: int

    @classmethod
    def of(cls, setting: Setting) -> "Asked":
        """Return what the workflow asks for where no earlier job was measured."""
        estimates = MemoryEstimates(check_config(_config(setting)))
        return cls(
            estimates.training_mb("eager"),
            estimates.training_mb("compiled"),
            estimates.sampling_mb("eager", "few"),
        )


def _config(setting: Setting) -> dict[str, Any]:
    """Return a config file's content with the jobs of this part."""
    source = {"kind": "folder", "path": str(photographs(setting))}
    train = {"batch_size": setting.batch_size, "steps": STEPS, "checkpoint_every": CHECKPOINT_EVERY}
    return {
        "results_dir": str(setting.folder / "planned"),
        "resources_dir": str(setting.folder / "planned"),
        "datasets": {"photographs": {"source": source, "image_size": setting.image_size}},
        "experiments": {
            name: {
                "dataset": "photographs",
                "model": setting.model(),
                "train": {**train, "run": {"compile": compiles}},
                "samples": {"few": {**SAMPLING, "images": SAMPLING["batch_size"]}},
                "scores": {"classifier": {"features": "classifier"}},
            }
            for name, compiles in (("eager", False), ("compiled", True))
        },
    }


def measured(program: Path) -> tuple[str, ...]:
    """Return the command of a program that prints its peaks on the GPU at its end."""
    return sys.executable, "-c", MEASURED, str(program)


def _trained_within(setting: Setting, limit: int) -> Peaks:
    """Train within so many megabytes and return the peaks."""
    run = {"compile": False, "memory_mb_per_process": limit}
    program = measured(SCRIPTS / "train.py")
    return Peaks.of(Training(setting, "within-limit", run=run, program=program).done())


def _sampled(setting: Setting, asked_mb: int) -> Iterator[Check]:
    """Draw a batch from the training's last checkpoint, and judge the peaks."""
    trained, place = Training(setting, "within-limit"), setting.folder / "sampled"
    place.mkdir(exist_ok=True)
    sizes = {"image_size": setting.image_size, "channels": 3}
    what = {"version": VERSIONS["sample"], **sizes, "model": setting.model(), "drawing": SAMPLING}
    command = [*measured(SCRIPTS / "sample.py"), "--what", json.dumps(what)]
    command += ["--manifest", str(trained.manifest), "--step", str(STEPS)]
    command += ["--last", str(SAMPLING["batch_size"] - 1), "--output", str(place / "images.npy")]
    command += ["--timing", str(place / "images.json")]
    try:
        ended = complete(command, place / "sample.log", {})
    except ProgramError as error:
        yield Check("sample.py", "fail", str(error), "read sampled/sample.log (--keep FOLDER)")
        return
    yield from judge_peaks("sample.py", Peaks.of(ended), asked_mb, setting.gpu)


def judge_peaks(name: str, peaks: Peaks, asked_mb: int, gpu: bool) -> Iterator[Check]:
    """Yield the checks of a program's peaks against the megabytes that its job asks for."""
    sides = [("host", peaks.host_mb, peaks.host_mb)]
    if gpu:
        sides.append(("GPU", peaks.allocated_mb, peaks.reserved_mb))
    for side, used, held in sides:
        key = side.lower()
        share = held / asked_mb
        found = f"{held:,.0f} MB of {asked_mb:,} MB, {share:.2f} of what its job asks for"
        numbers = {f"{key}_peak_mb": held, "asked_mb": asked_mb, f"{key}_peak_over_asked": share}
        if side == "GPU":
            found += f"; {used:,.0f} MB in tensors"
            numbers["gpu_peak_allocated_mb"] = used
        title = f"{name}: {side} memory"
        if 0 < held <= asked_mb:
            yield Check(title, "pass", found, numbers=numbers)
        elif held <= 0:
            found = "nothing was measured"
            yield Check(title, "fail", found, f"{READ_LOG}; was it run on the GPU?", numbers)
        else:
            remedy = (
                "a first job ends here, and is sent again with twice as much: give the rule more "
                "(set-resources of the profile: mem_mb), and send this report"
            )
            yield Check(title, "fail", found, remedy, numbers)


def _trained_within_too_little(setting: Setting, peaks: Peaks | None) -> Check:
    """Train with a part of the memory that the training needs, and judge what it has recorded."""
    peak = 0.0 if peaks is None else peaks.allocated_mb if setting.gpu else peaks.host_mb
    limit = int(TOO_LITTLE * (peak or SMALL_PEAK))
    run = {"compile": False, "on_failure": "record", "memory_mb_per_process": limit}
    training = Training(setting, "too-little-memory", run=run)
    training.complete()
    return judge_failure(read_failed(training.manifest), limit)


def judge_failure(failed: RecordedFailure | None, limit: int) -> Check:
    """Return the check of a failure that was recorded. limit: of memory, in megabytes."""
    name = "training with too little memory"
    if failed is None:
        found = f"{KEY} {limit} did not keep it from training"
        remedy = "limits of memory do not hold here: leave the key out, and send this report"
        return Check(name, "fail", found, remedy)
    if failed.status == "out of memory" and KEY in failed.reason:
        return Check(name, "pass", f"recorded, exit status 0: {failed.in_words()}")
    found = f"{KEY} {limit} was recorded as: {failed.in_words()}"
    remedy = "the reason of this failure is not understood: send this report"
    return Check(name, "fail", found, remedy)
