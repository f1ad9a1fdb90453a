"""A training whose failure is recorded: it runs in a process that is watched, and leaves a word.

A process that the kernel kills, or that a library aborts, cannot say so itself. One process is
watched from another; of several, the one that has started them watches (launch.py). Imports no
torch: who watches takes little memory.
"""

import codecs
import math
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from types import FrameType

from ddpm_bench.errors import EXIT_SAVED_AND_STOPPED, EXIT_USER_ERROR, STOP_SIGNALS
from ddpm_bench.machine.launch import Ended
from ddpm_bench.machine.process_failures import (
    ProcessFailure,
    failure_without_record,
    gravest,
    is_consequence,
    read_word,
    word_file,
    write_failure,
)
from ddpm_bench.records.log_tails import TAIL_BYTES

WORDS = "DDPM_BENCH_WORDS"  # the folder in which processes of a watched training leave words


@dataclass(frozen=True)
class Watched:
    """How a watched training ended. failure: what to record, where its end is a result."""

    status: int
    failure: ProcessFailure | None = None


def is_watched() -> bool:
    """Whether this process is, or is started by, one of a watched training."""
    return WORDS in os.environ


def write_own_failure(failure: ProcessFailure) -> None:
    """Say why this process fails, to who watches it."""
    write_failure(word_file(Path(os.environ[WORDS]), int(os.environ.get("RANK", "0"))), failure)


@contextmanager
def failure_folder(output: Path) -> Iterator[Path]:
    """A folder for words beside an output, which all nodes see, set for all processes that are
    started in the block; removes those of killed starts."""
    place = output.absolute().parent
    for leftover in place.glob(f".{escape(output.stem)}.*.words"):
        shutil.rmtree(leftover, ignore_errors=True)
    folder = place / f".{output.stem}.{secrets.token_hex(8)}.words"
    folder.mkdir(parents=True)
    os.environ[WORDS] = str(folder)
    try:
        yield folder
    finally:
        del os.environ[WORDS]
        shutil.rmtree(folder, ignore_errors=True)


def watch(command: list[str], folder: Path) -> Watched:
    """Run a Python program that leaves its words in `folder`; what it prints goes to our stderr.

    Signals to stop are handed on to it. One that stopped for them has not failed, and neither has
    one that ends with an error for the user.
    """
    caught: list[int] = []
    process = subprocess.Popen(
        [sys.executable, *command], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    )

    def forward_signal(number: int, _: FrameType | None) -> None:
        caught.append(number)
        with suppress(ProcessLookupError):
            process.send_signal(number)

    before = {number: signal.signal(number, forward_signal) for number in STOP_SIGNALS}
    try:
        heard = StderrRelay(process)
        status = process.wait()
        heard.end()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if -status in STOP_SIGNALS:  # before it listened to them
        return Watched(128 - status)
    if caught and status:
        return Watched(status if status > 0 else EXIT_SAVED_AND_STOPPED)
    return _judged(status, folder, heard.tail)


def outcome_of(ended: Ended, folder: Path) -> Watched:
    """The same of several processes that have ended, and that left their words in `folder`."""
    if ended.signal is not None:
        return Watched(ended.status)
    code = ended.exit_code if ended.exit_code is not None and ended.exit_code < 0 else ended.status
    watched = _judged(code, folder, "")
    return Watched(ended.status, watched.failure)


def _judged(status: int, folder: Path, tail: str) -> Watched:
    if status in (0, EXIT_SAVED_AND_STOPPED):
        return Watched(status)
    said = gravest(read_word(path) for path in folder.glob(word_file(folder, "*").name))
    another = said is not None and is_consequence(said)
    if status == EXIT_USER_ERROR:
        return Watched(status, None if another else said)
    if said is None or status < 0 or (another and tail):
        said = gravest([said, failure_without_record(status, tail, math.inf)])  # words come first
    return Watched(status, said)


class StderrRelay:
    """Passes on what a process prints, and keeps the end of it."""

    def __init__(self, process: subprocess.Popen) -> None:
        assert process.stderr is not None
        self._descriptor = process.stderr.fileno()
        self._tail = b""
        self._listener = threading.Thread(target=self._pass_on, daemon=True)
        self._listener.start()

    def _pass_on(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while printed := os.read(self._descriptor, 65536):
            self._tail = (self._tail + printed)[-TAIL_BYTES:]
            with suppress(OSError, ValueError):  # nobody reads it any more
                sys.stderr.write(decoder.decode(printed))
                sys.stderr.flush()

    def end(self) -> None:
        """Hear what it said last; what it has started may hold its stderr open."""
        self._listener.join(1)

    @property
    def tail(self) -> str:
        return self._tail.decode("utf-8", "replace")
