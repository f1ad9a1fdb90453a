"""The process of a part: its start, its rows, and the end of all programs that it has started."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from ddpm_bench.gpu_check.part import Check, Part, Setting, last_lines
from ddpm_bench.gpu_check.report import PartResult

MARK = "DDPM_BENCH_GPU_CHECK"  # names a check's folder and the part, in all programs of the part
POLL_SECONDS = 0.05
SECONDS_TO_DIE = 5.0  # in which the kernel ends what was killed, and frees its memory


@dataclass(frozen=True)
class PartProcess:
    """The process of a part, with files for its rows and its log.

    program: gpu_check.py, which starts itself for each part.
    """

    part: Part
    setting: Setting
    program: Path

    @property
    def mark(self) -> str:
        """Value of MARK in the programs of this part of this check."""
        return str(self.setting.folder / self.part.name)

    def result(self, seconds: float, stopped: list[int]) -> PartResult:
        """Run the part for at most so many seconds and return its rows, those of a failure too.

        stopped: signals that have told this process to stop, on which the part ends at once.
        """
        began = time.monotonic()
        rows = self.setting.folder / f"{self.part.name}.jsonl"
        try:
            status = self._wait(rows, began + seconds, stopped)
            checks = read_rows(rows)
            if status != 0:
                checks.append(self._ended(status, seconds, stopped))
        except OSError as error:  # of the folder for files: the other parts still run
            remedy = "is the disk full? Name another: TMPDIR=FOLDER make gpu-check"
            checks = [Check(self.part.name, "fail", str(error), remedy)]
        return PartResult(self.part, time.monotonic() - began, tuple(checks))

    def _wait(self, rows: Path, until: float, stopped: list[int]) -> int | None:
        """Run the part; return its exit status, None where it was ended."""
        options = ["--run-part", self.part.name, "--checks", str(rows)]
        command = [sys.executable, str(self.program), *options, "--setting", self.setting.as_json()]
        with self._log().open("wb") as output:
            environment = {**os.environ, MARK: self.mark}
            process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
            try:
                while process.poll() is None and time.monotonic() < until and not stopped:
                    time.sleep(POLL_SECONDS)
                return process.poll()
            finally:
                process.kill()
                process.wait()
                end_programs(self.mark)

    def _ended(self, status: int | None, seconds: float, stopped: list[int]) -> Check:
        """Return the check of a part that did not come to its end."""
        name = self.part.name
        alone = f"run it alone: --parts {name}"
        if stopped:
            return Check(name, "not run", "the check was stopped", alone)
        if status is None:
            found = f"did not end within {seconds:.0f} s"
            if seconds < self.part.seconds:  # those of the whole check were over
                return Check(name, "not run", f"{found} (--minutes)", alone)
            return Check(name, "fail", found, f"{alone} --minutes 30")
        said = last_lines(self._log().read_text(errors="replace"))
        remedy = f"{alone} --keep FOLDER, and read its log there"
        return Check(name, "fail", f"ended with status {status}: {said}", remedy)

    def _log(self) -> Path:
        return self.setting.folder / f"{self.part.name}.log"


def read_rows(path: Path) -> list[Check]:
    """Read the rows of a part, without the last one where its process ended while it wrote it."""
    checks = []
    with suppress(FileNotFoundError, ValueError, TypeError):
        for line in path.read_text(errors="replace").splitlines():
            checks.append(Check(**json.loads(line)))
    return checks


def end_programs(mark: str) -> None:
    """Kill all programs that a part of a check has started.

    They are known by the value of MARK: some lead a session of their own, and others have lost the
    process that started them. Waits until they are gone, so that the GPU's memory is free.
    """
    until = time.monotonic() + SECONDS_TO_DIE
    while (programs := marked(mark)) and time.monotonic() < until:
        for program in programs:
            with suppress(psutil.Error):
                program.kill()
        psutil.wait_procs(programs, timeout=POLL_SECONDS)


def marked(mark: str) -> list[psutil.Process]:
    """Return the processes that run with this value of MARK, without this one."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # gone, another user's, or a zombie
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                found.append(process)
    return found
