"""Trainings by train.py for the parts of the GPU check, each in a folder of its own.

    trainings/<name>/        the experiment's folder, as train.py makes it
    trainings/<name>.log     what the program printed
    trainings/<name>.json    seconds and memory of the program, once it has ended well

A later part finds what an earlier one has trained, and trains it itself when it runs alone.
"""

import json
import os
import shutil
import statistics
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ddpm_bench.config.versions import VERSIONS
from ddpm_bench.gpu_check.part import SCRIPTS, ProgramError, Setting, command_of, last_lines
from ddpm_bench.gpu_check.photographs import prepared_dataset
from ddpm_bench.gpu_check.side_by_side import lease_of_its_own
from ddpm_bench.records.layout import weights_name
from ddpm_bench.records.progress_log import ProgressEvent, read_events

STEPS = 40
CHECKPOINT_EVERY = 20
ROW = 10  # steps of a row of metrics.csv, and of an event "trained"
MEMORY_SECONDS = 0.25  # between two looks at a program's memory
COMPILED = "compiled"  # folder of the code that trainings with default kernels share


@dataclass(frozen=True)
class EndedProgram:
    """A program that ended well.

    began: seconds since 1970; peak_mb: of main memory, in megabytes of 10^6 bytes, of the program
    and all that it started; output: of its stdout.
    """

    began: float
    seconds: float
    peak_mb: float
    output: str


@dataclass(frozen=True)
class Training:
    """A training of STEPS steps on the photographs.

    train, run: keys besides those that all have; model: the setting's by default; program: the
    command line before train.py's options.
    """

    setting: Setting
    name: str
    train: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    program: tuple[str, ...] = tuple(command_of(SCRIPTS / "train.py"))

    @property
    def folder(self) -> Path:
        """The experiment's folder."""
        return self.setting.folder / "trainings" / self.name

    @property
    def manifest(self) -> Path:
        """The job's manifest."""
        return self.folder / "training" / "job.json"

    @property
    def record(self) -> Path:
        """The file with the training's end, once it has ended well."""
        return self.folder.with_name(f"{self.name}.json")

    def command(self) -> list[str]:
        """Return the command of the training, the same for its first start and for others."""
        keys = {"batch_size": self.setting.batch_size, "checkpoint_every": CHECKPOINT_EVERY}
        what = {
            "version": VERSIONS["train"],
            "model": self.model or self.setting.model(),
            "train": {**keys, "precision": "bf16", **self.train},
        }
        options = ["--what", json.dumps(what), "--how", json.dumps(self.run)]
        options += ["--dataset", str(prepared_dataset(self.setting))]
        options += ["--experiment", str(self.folder), "--last", str(STEPS)]
        return [*self.program, *options, "--output", str(self.manifest)]

    def complete(self) -> EndedProgram:
        """Run the training to its end. Raises ProgramError when it fails."""
        ended = complete(self.command(), self._log(), self._environment())
        for states in (self.folder / "training").glob("*/state"):  # gigabytes at the real size
            shutil.rmtree(states)
        self.record.write_text(json.dumps(asdict(ended)))
        return ended

    def done(self) -> EndedProgram:
        """Return how the training ended that an earlier part has run, or run it from step 0."""
        try:
            return EndedProgram(**json.loads(self.record.read_text()))
        except OSError:
            shutil.rmtree(self.folder, ignore_errors=True)
            return self.complete()

    def killed(self) -> None:
        """Start the training and end it by SIGKILL after a saved state, before its last step.

        Raises ProgramError when it ends by itself.
        """
        log = self._log()
        with log.open("wb") as printed:
            process = subprocess.Popen(
                self.command(),
                stdout=printed,
                stderr=printed,
                env={**os.environ, **self._environment()},
            )
            try:
                while not is_in_the_middle(self.events()):
                    if process.poll() is not None:
                        raise _failed(self.command(), process.returncode, log)
                    time.sleep(0.005)
            finally:
                process.kill()
                process.wait()
        if any(event["step"] == STEPS for event in self.events()):
            raise ProgramError(f"{self.name}: was at its end before it could be killed")

    def events(self) -> list[ProgressEvent]:
        """Return the events of progress.jsonl so far."""
        paths = (self.folder / "training").glob("*/progress.jsonl")
        return [event for path in paths for event in read_events(path)]

    def checkpoint(self, step: int) -> Path:
        """Return the file of a step's averaged weights."""
        return self.folder / "checkpoints" / weights_name(step)

    def weights(self, step: int) -> dict[str, Any]:
        """Read the averaged weights of a step: float32 arrays by name.

        Raises ProgramError for a file that is missing or damaged.
        """
        try:
            return load_file(self.checkpoint(step))
        except (OSError, SafetensorError) as error:
            raise ProgramError(f"{self.checkpoint(step)}: {error}") from None

    def metrics(self) -> str:
        """Read metrics.csv. Raises ProgramError where it is missing."""
        try:
            return (self.folder / "metrics.csv").read_text()
        except OSError as error:
            raise ProgramError(f"no metrics.csv: {error}") from None

    def speed(self) -> float:
        """Return images per second: the median over rows of steps, without the first."""
        return statistics.median(event["images_per_second"] for event in self._rows()[1:])

    def seconds_to_first_step(self, began: float) -> float:
        """Return seconds from a time, in seconds since 1970, to the end of the first step."""
        others = (ROW - 1) * self.setting.batch_size / self.speed()
        return self._rows()[0]["time"].timestamp() - began - others

    def _rows(self) -> list[ProgressEvent]:
        """Return the events of rows of steps. Raises ProgramError for fewer than two."""
        rows = [event for event in self.events() if event["event"] == "trained"]
        if len(rows) < 2:
            raise ProgramError(f"{self.name}: progress.jsonl has {len(rows)} rows, too few")
        return rows

    def _log(self) -> Path:
        self.folder.parent.mkdir(exist_ok=True)
        return self.folder.with_name(f"{self.name}.log")

    def _environment(self) -> dict[str, str]:
        return {**lease_of_its_own(self.folder.with_name(f"{self.name}-lease")), **self.environment}


def compiled_code(setting: Setting, folder: str = COMPILED) -> dict[str, str]:
    """Return the environment of trainings that share compiled code in a folder.

    Otherwise each has its own, and each compiles.
    """
    return {"TORCHINDUCTOR_CACHE_DIR": str(setting.folder / folder)}


def is_in_the_middle(events: list[ProgressEvent]) -> bool:
    """Return True if a training has saved a state and has trained a row of steps."""
    return {"state saved", "trained"} <= {event["event"] for event in events}


def complete(command: list[str], log: Path, environment: dict[str, str]) -> EndedProgram:
    """Run a program to its end, with stderr in a log. Raises ProgramError when it fails."""
    began = time.time()
    with log.open("wb") as printed:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=printed, env={**os.environ, **environment}
        )
        memory = PeakMemory(process.pid)
        output, _ = process.communicate()
    seconds, peak = time.time() - began, memory.end()
    if process.returncode != 0:
        raise _failed(command, process.returncode, log)
    return EndedProgram(began, seconds, peak / 1e6, output.decode())


def _failed(command: list[str], status: int, log: Path) -> ProgramError:
    program = next(Path(part).name for part in command if part.endswith(".py"))
    said = last_lines(log.read_text(errors="replace"))
    return ProgramError(f"{program} ended with status {status}: {said}")


class PeakMemory:
    """The most memory that a process and all that it started had at once, looked at in a thread."""

    def __init__(self, process: int) -> None:
        self._peak, self._ended = 0, threading.Event()
        self._thread = threading.Thread(target=self._look, args=(process,), daemon=True)
        self._thread.start()

    def end(self) -> int:
        """Return the peak, in bytes."""
        self._ended.set()
        self._thread.join()
        return self._peak

    def _look(self, process: int) -> None:
        while not self._ended.wait(MEMORY_SECONDS):
            self._peak = max(self._peak, memory_of(process))


def memory_of(process: int) -> int:
    """Return the bytes that a process and all that it started hold; 0 when it is gone.

    What several of them share counts once, as in the limit of a SLURM job; libraries that others
    have loaded, too, count for the largest.
    """
    try:
        first = psutil.Process(process)
        all_of_them = [first, *first.children(recursive=True)]
    except psutil.Error:
        return 0
    resident, shares = [0], [0]
    for one in all_of_them:
        with suppress(psutil.Error, AttributeError):  # gone; no such size on this system
            resident.append(one.memory_info().rss)
            shares.append(one.memory_full_info().pss)
    return max(*resident, sum(shares))
