"""Runs the parts of the GPU check one after the other, so that no failure hides another."""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from ddpm_bench.errors import UserError
from ddpm_bench.gpu_check.part import (
    ON_A_GPU,
    WITH_STAND_INS,
    Check,
    Part,
    ProgramError,
    Setting,
    last_lines,
)
from ddpm_bench.gpu_check.parts import PARTS
from ddpm_bench.gpu_check.report import PartResult, check_line, end_of_check, write_report
from ddpm_bench.gpu_check.request import CheckRequest
from ddpm_bench.machine.compute_device import STAND_INS
from ddpm_bench.machine.gpu_leases import lease
from ddpm_bench.machine.gpu_listing import driver_version, present_devices
from ddpm_bench.machine.lock_files import PLACE

FEWEST_SECONDS = 15  # of the whole time that must be left for a part to begin
ALWAYS = "machine"  # the part whose numbers describe the machine in the report


def check_gpu(request: CheckRequest) -> int:
    """Run the parts that are asked for, print a table, write the report; return the exit status.

    Raises UserError, before any part, where there is no GPU and no stand-ins are asked for, or
    where a file is in the way.
    """
    check_request(request)
    with ExitStack() as held:
        if request.keep is None:
            folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="gpu-check-")))
        else:
            folder = request.keep.absolute()
            folder.mkdir(parents=True)
        held.enter_context(_devices(request.stand_ins, folder))
        sizes = WITH_STAND_INS if request.stand_ins else ON_A_GPU
        setting = Setting(folder=folder, gpu=not request.stand_ins, **sizes)
        results = list(_results(request, setting))
    path = write_report(results, request)
    for line in end_of_check(results, request.stand_ins, path):
        print(line)
    return int(any(result.failed() for result in results))


def check_request(request: CheckRequest) -> None:
    """Raise UserError for a request that cannot be carried out."""
    if request.minutes <= 0:
        raise UserError(f"--minutes {request.minutes:g}: must be above 0")
    if request.keep is not None and request.keep.exists():
        raise UserError(f"--keep {request.keep}: it exists; name a new folder")
    if request.output is not None and request.output.exists():
        raise UserError(f"--output {request.output}: it exists; name another file")
    if not request.stand_ins and not present_devices():
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        reason = "no GPU is found: nvidia-smi lists none, nor do the driver's files"
        if hidden is not None:
            reason = f"CUDA_VISIBLE_DEVICES={hidden} hides all GPUs"
        elif driver := driver_version():
            reason = f"{reason} (driver {driver})"
        raise UserError(
            f"{reason}; on a node without one ask for one (srun --gpus=1 make gpu-check), or check "
            "with --stand-ins what a CPU can stand in for"
        )


@contextmanager
def _devices(stand_ins: bool, folder: Path) -> Iterator[None]:
    """Hold one GPU, or name stand-ins, for the programs that the parts start.

    They lease among themselves, by locks in a folder of their own.
    """
    with nullcontext() if stand_ins else lease(1):
        added = {PLACE: str(folder / "locks")}
        if stand_ins:
            added |= {"CUDA_VISIBLE_DEVICES": "", "DDPM_BENCH_DEVICES": "0,1", STAND_INS: "1"}
        before = dict(os.environ)
        os.environ.update(added)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def _results(request: CheckRequest, setting: Setting) -> Iterator[PartResult]:
    """Run the parts; yield the result of each, and print it."""
    chosen = [part for part in PARTS if not request.parts or part.name in (*request.parts, ALWAYS)]
    end = time.monotonic() + request.minutes * 60
    for number, part in enumerate(chosen, 1):
        print(f"[{number}/{len(chosen)}] {part.name}: {part.about}", flush=True)
        if not setting.gpu and part.unseen is None:
            result = PartResult(part, 0.0, (Check(part.name, "not run", "needs a GPU"),))
        elif end - time.monotonic() < FEWEST_SECONDS:
            late = f"the {request.minutes:g} minutes were over (--minutes)"
            remedy = f"run it alone: --parts {part.name}"
            result = PartResult(part, 0.0, (Check(part.name, "not run", late, remedy),))
        else:
            seconds = min(part.seconds, end - time.monotonic())
            result = _PartProcess(part, setting, request.program).result(seconds)
        for check in result.checks:
            print(f"  {check_line(check)}", flush=True)
        yield result


@dataclass(frozen=True)
class _PartProcess:
    """The process of a part, with files for its rows and its log."""

    part: Part
    setting: Setting
    program: Path

    def result(self, seconds: float) -> PartResult:
        """Run the part for at most so many seconds and return its rows, those of a failure too."""
        rows = self.setting.folder / f"{self.part.name}.jsonl"
        log = self.setting.folder / f"{self.part.name}.log"
        options = ["--run-part", self.part.name, "--checks", str(rows)]
        command = [sys.executable, str(self.program), *options, "--setting", self.setting.as_json()]
        began = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output)
            try:
                status = process.wait(seconds)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                end_with_children(process)
        took = time.monotonic() - began
        text = rows.read_text() if rows.exists() else ""
        checks = [Check(**json.loads(line)) for line in text.splitlines()]
        if status != 0:
            reason = f"ended with status {status}: {last_lines(log.read_text(errors='replace'))}"
            remedy = f"run it alone and read its log: --parts {self.part.name} --keep FOLDER"
            if status is None:
                reason = f"did not end within {seconds:.0f} s"
                remedy = f"run it alone: --parts {self.part.name} --minutes 30"
            checks.append(Check(self.part.name, "fail", reason, remedy))
        return PartResult(self.part, took, tuple(checks))


def end_with_children(process: subprocess.Popen) -> None:
    """Kill a process, if it runs, and all that it has started."""
    if process.poll() is not None:
        return
    started = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    for child in started:
        if child.is_running():
            child.kill()


def run_part(name: str, setting: str, rows: Path) -> int:
    """Run a part in this process; write a line of JSON for each check as soon as it is made.

    An error of the part becomes a failed check, so that the status is 0.
    """
    part = next(part for part in PARTS if part.name == name)
    with rows.open("w") as file:

        def write(check: Check) -> None:
            row = asdict(check)
            row["numbers"] = {key: _finite(value) for key, value in check.numbers.items()}
            file.write(json.dumps(row) + "\n")
            file.flush()

        try:
            for check in part.checks(Setting.from_json(setting)):
                write(check)
        except (UserError, ProgramError) as error:
            write(Check(name, "fail", str(error), "mend that and run the check again"))
        except Exception as error:  # of whatever kind: the other parts still run
            traceback.print_exc()
            found = f"{type(error).__name__}: {last_lines(str(error))}"
            write(Check(name, "fail", found, f"read its log: --parts {name} --keep FOLDER"))
    return 0


def _finite(number: Any) -> Any:
    """Return None for a number that JSON does not have: NaN or an infinity."""
    return None if isinstance(number, float) and not math.isfinite(number) else number
