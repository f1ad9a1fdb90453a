"""Runs the parts of the GPU check one after the other, so that no failure hides another."""

import json
import math
import os
import signal
import tempfile
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from ddpm_bench.errors import STOP_SIGNALS, UserError
from ddpm_bench.gpu_check.part import (
    ON_A_GPU,
    WITH_STAND_INS,
    Check,
    Part,
    ProgramError,
    Setting,
    last_lines,
)
from ddpm_bench.gpu_check.part_process import PartProcess
from ddpm_bench.gpu_check.parts import PARTS
from ddpm_bench.gpu_check.report import (
    PartResult,
    Report,
    check_line,
    check_place_of_report,
    end_of_check,
)
from ddpm_bench.gpu_check.request import CheckRequest
from ddpm_bench.machine.compute_device import STAND_INS
from ddpm_bench.machine.gpu_leases import lease
from ddpm_bench.machine.gpu_listing import driver_version, present_devices
from ddpm_bench.machine.host import usable_cores
from ddpm_bench.machine.lock_files import PLACE

AT_ONCE = 2  # parts that share
CORES_FOR_SHARING = 8
FEWEST_SECONDS = 15  # of the whole time that must be left for a part to begin
ALWAYS = "machine"  # the part whose numbers describe the machine in the report


def check_gpu(request: CheckRequest) -> int:
    """Run the parts that are asked for, print a table, write the report; return the exit status.

    The report is written after each part, so that none is lost where this program is ended. On a
    signal to stop the part that runs is ended, and the rest as after the last part; the status is
    128 and the signal's number. Raises UserError, before any part, where there is no GPU and no
    stand-ins are asked for, or where a file is in the way; and at the end where the report could
    not be written.
    """
    check_request(request)
    report = Report(request)
    with ExitStack() as held:
        if request.keep is None:
            new = tempfile.TemporaryDirectory(prefix="gpu-check-", ignore_cleanup_errors=True)
            folder = Path(held.enter_context(new))
        else:
            folder = request.keep.absolute()
            folder.mkdir(parents=True)
        held.enter_context(_devices(request.stand_ins, folder))
        sizes = WITH_STAND_INS if request.stand_ins else ON_A_GPU
        setting = Setting(folder=folder, gpu=not request.stand_ins, **sizes)
        with _noted_signals() as stopped:
            for result in _results(request, setting, stopped):
                report.add(result)
                for check in result.checks:
                    print(f"  {check_line(check)}", flush=True)
    if report.path is not None:
        for line in end_of_check(report.results, request.stand_ins, report.path):
            print(line, flush=True)
    report.raise_unless_written()
    if stopped:
        return 128 + stopped[0]
    return int(any(result.failed() for result in report.results))


@contextmanager
def _noted_signals() -> Iterator[list[int]]:
    """Yield the numbers of the signals to stop that have come in the block, in their order.

    Those that are ignored, as by nohup, stay so.
    """
    noted: list[int] = []
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    handled = {number: one for number, one in handlers.items() if one != signal.SIG_IGN}
    for number in handled:
        signal.signal(number, lambda number, _: noted.append(number))
    try:
        yield noted
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)


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
    check_place_of_report(request)


@contextmanager
def _devices(stand_ins: bool, folder: Path) -> Iterator[None]:
    """Hold one GPU, or name stand-ins, for the programs that the parts start.

    They lease among themselves, by locks in a folder of their own, and keep the code that torch
    compiles in the check's folder.
    """
    with nullcontext() if stand_ins else lease(1):
        added = {PLACE: str(folder / "locks")}
        added["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "compiled-elsewhere")
        if stand_ins:
            added |= {"CUDA_VISIBLE_DEVICES": "", "DDPM_BENCH_DEVICES": "0,1", STAND_INS: "1"}
        before = dict(os.environ)
        # Its names would go before CUDA_VISIBLE_DEVICES, which holds the leased GPU.
        os.environ.pop("DDPM_BENCH_DEVICES", None)
        os.environ.update(added)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def _results(request: CheckRequest, setting: Setting, stopped: list[int]) -> Iterator[PartResult]:
    """Run the parts, until a signal to stop is noted; yield the result of each, in their order.

    Parts that share run two at a time where there are cores for both: most of their time is the
    start of programs.
    """
    chosen = [part for part in PARTS if not request.parts or part.name in (*request.parts, ALWAYS)]
    end = time.monotonic() + request.minutes * 60
    at_once = AT_ONCE if usable_cores(CORES_FOR_SHARING) == CORES_FOR_SHARING else 1
    run = partial(_result, request=request, setting=setting, end=end, stopped=stopped)
    number = 0
    with ThreadPoolExecutor(at_once) as pool:
        for shares, group in groupby(chosen, lambda part: part.shares):
            parts = list(group)
            if shares and at_once > 1:
                print(f"{at_once} at a time: {', '.join(part.name for part in parts)}", flush=True)
                results = [pool.submit(run, part).result for part in parts]
            else:
                results = [partial(run, part) for part in parts]
            for part, result in zip(parts, results, strict=True):
                if stopped and not shares:
                    return
                number += 1
                print(f"[{number}/{len(chosen)}] {part.name}: {part.about}", flush=True)
                yield result()


def _result(
    part: Part, request: CheckRequest, setting: Setting, end: float, stopped: list[int]
) -> PartResult:
    """Run a part within the time that is left until `end`, of the monotonic clock."""
    alone = f"run it alone: --parts {part.name}"
    left = end - time.monotonic()
    if stopped:
        check = Check(part.name, "not run", "the check was stopped", alone)
    elif not setting.gpu and part.unseen is None:
        check = Check(part.name, "not run", "needs a GPU")
    elif left < FEWEST_SECONDS:
        late = f"the {request.minutes:g} minutes were over (--minutes)"
        check = Check(part.name, "not run", late, alone)
    else:
        process = PartProcess(part, setting, request.program)
        return process.result(min(part.seconds, left), stopped)
    return PartResult(part, 0.0, (check,))


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
