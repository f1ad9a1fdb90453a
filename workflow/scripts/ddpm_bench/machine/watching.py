"""Trainings whose failure is recorded: they run in processes that are watched from another.

A process that the kernel kills, or that a library aborts, cannot record its own failure. One
process is watched from another; several are watched by the one that has started them (launch.py).
This module imports no torch, so that the watching process takes little memory.
"""

import math
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from ddpm_bench.errors import EXIT_SAVED_AND_STOPPED, EXIT_USER_ERROR, STOP_SIGNALS
from ddpm_bench.machine.launch import Ended
from ddpm_bench.machine.output_relay import OutputRelay
from ddpm_bench.machine.process_failures import (
    ProcessFailure,
    failure_file,
    failure_without_record,
    gravest,
    is_consequence,
    read_failure,
    write_failure,
)
from ddpm_bench.machine.signals import caught_stop_signals

FAILURE_FOLDER = "DDPM_BENCH_WORDS"  # the folder that a watched training writes failures into


@dataclass(frozen=True)
class Watched:
    """The end of a watched training. failure: the one to record, where its end is a result."""

    status: int
    failure: ProcessFailure | None = None


def is_watched() -> bool:
    """Return True in a process of a watched training, and in those that it starts."""
    return FAILURE_FOLDER in os.environ


def write_own_failure(failure: ProcessFailure) -> None:
    """Write the failure of this process for the process that watches it."""
    folder, rank = Path(os.environ[FAILURE_FOLDER]), int(os.environ.get("RANK", "0"))
    write_failure(failure_file(folder, rank), failure)


@contextmanager
def failure_folder(output: Path) -> Iterator[Path]:
    """Make a folder for failures beside an output, where all nodes see it, until the block ends.

    All processes that are started in the block are watched. Folders of killed starts are removed.
    """
    place = output.absolute().parent
    for leftover in place.glob(f".{escape(output.stem)}.*.words"):
        shutil.rmtree(leftover, ignore_errors=True)
    folder = place / f".{output.stem}.{secrets.token_hex(8)}.words"
    folder.mkdir(parents=True)
    os.environ[FAILURE_FOLDER] = str(folder)
    try:
        yield folder
    finally:
        del os.environ[FAILURE_FOLDER]
        shutil.rmtree(folder, ignore_errors=True)


def watch(command: list[str], folder: Path) -> Watched:
    """Run a Python program that writes its failure into `folder`; return how it ended.

    Its stderr is relayed to ours, and signals to stop are forwarded to it. A program that stopped
    for them has not failed, and neither has one that ends with an error for the user.
    """
    process = subprocess.Popen(
        [sys.executable, *command], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None

    def forward(number: int) -> None:
        with suppress(ProcessLookupError):
            process.send_signal(number)

    with caught_stop_signals(forward) as caught:
        relay = OutputRelay(process.stderr)
        status = process.wait()
        relay.end()
    if -status in STOP_SIGNALS:  # before it listened to them
        return Watched(128 - status)
    if caught and status:
        return Watched(status if status > 0 else EXIT_SAVED_AND_STOPPED)
    return _outcome(status, folder, relay.tail)


def outcome_of(ended: Ended, folder: Path) -> Watched:
    """Return how several processes ended that have written their failures into `folder`."""
    if ended.signal is not None:
        return Watched(ended.status)
    code = ended.exit_code if ended.exit_code is not None and ended.exit_code < 0 else ended.status
    return Watched(ended.status, _outcome(code, folder, "").failure)


def _outcome(status: int, folder: Path, tail: str) -> Watched:
    """Return the end of processes by their status, the failures in `folder`, and the last output.

    Where none is written, or the written one is a consequence of another process's end, the status
    and the output tell the failure.
    """
    if status in (0, EXIT_SAVED_AND_STOPPED):
        return Watched(status)
    files = folder.glob(failure_file(folder, "*").name)
    failure = gravest(read_failure(path) for path in files)
    another = failure is not None and is_consequence(failure)
    if status == EXIT_USER_ERROR:
        return Watched(status, None if another else failure)
    if failure is None or status < 0 or (another and tail):
        # Written failures come before this one, where they are as grave.
        failure = gravest([failure, failure_without_record(status, tail, math.inf)])
    return Watched(status, failure)
