"""Failures of processes: written by a process that fails, or inferred from its end.

A process that fails writes a ProcessFailure into a folder that its starter reads.
"""

import re
import signal
import traceback
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from ddpm_bench.files import read_json, write_json
from ddpm_bench.records.log_tails import ALLOCATION_FAILED, last_words
from ddpm_bench.text import size_text

LAST_LINES = 5  # of the output of a process that was ended by a signal
GPU_SENTENCES = 3  # the memory asked for, that of the GPU, and the free part of it
LONGEST_REASON = 400  # characters
# The first of these among the failures of several processes is the reason of all.
GRAVITY = ("timed out", "unsupported", "out of memory", "diverged", "crashed")
# Messages of gloo and NCCL about the end of another process.
OF_ANOTHER = re.compile(
    r"connection (?:closed|reset|refused|was)|broken pipe|socket|remote process|ncclRemoteError|"
    r"timed out waiting|watchdog",
    re.I,
)


@dataclass(frozen=True)
class ProcessFailure:
    """The failure of a process: its kind, one of GRAVITY, and its reason in words.

    when: seconds since 1970.
    """

    status: str
    reason: str
    when: float = 0.0


def is_consequence(failure: ProcessFailure) -> bool:
    """Return True for a crash whose reason is only that another process has ended."""
    return failure.status == "crashed" and OF_ANOTHER.search(failure.reason) is not None


def gravest(failures: Iterable[ProcessFailure | None]) -> ProcessFailure | None:
    """Return the failure that explains the others; None where there is none.

    By its kind, then causes before consequences, then the earliest.
    """

    def order(failure: ProcessFailure) -> tuple[int, bool, float]:
        consequence = OF_ANOTHER.search(failure.reason) is not None
        return GRAVITY.index(failure.status), consequence, failure.when

    return min((failure for failure in failures if failure), key=order, default=None)


def failure_without_record(
    status: int, output: str, when: float, log: str = "log"
) -> ProcessFailure:
    """Return the failure of a process that has written none, by its exit status and last output.

    status: as subprocess has it, negative for a signal; log: the name of the log with all output.
    """
    lines = [line for line in output.splitlines() if line.strip()]
    last = last_words(output) or (lines[-1] if lines else "it said nothing")
    if status == -signal.SIGKILL:
        reason = (
            "killed (SIGKILL), as the kernel does when memory runs out: lower batch_size, or ask "
            "the scheduler for more memory"
        )
        return ProcessFailure("out of memory", reason, when)
    end = "\n".join(lines[-LAST_LINES:])
    ended = f"ended by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    kind = "out of memory" if ALLOCATION_FAILED.search(end) else "crashed"
    return ProcessFailure(kind, one_line(f"{ended}: {last} (more in the {log})"), when)


def failure_file(folder: Path, rank: int | str) -> Path:
    """Return the path at which the process of this rank writes its failure."""
    return folder / f"rank-{rank}.json"


def write_failure(path: Path, failure: ProcessFailure) -> None:
    """Write a failure as JSON, atomically."""
    write_json(path, asdict(failure))


def read_failure(path: Path) -> ProcessFailure:
    """Read a failure that `write_failure` has written."""
    return ProcessFailure(**read_json(path))


def what_did_not_fit(error: BaseException) -> str:
    """Return the memory that could not be had, in the words of torch's or Python's allocator."""
    while error.__cause__ is not None:  # a pipeline raises its own from it
        error = error.__cause__
    message = str(error) or "out of memory"
    asked = re.search(r"you tried to allocate (\d+) bytes", message)
    if asked:
        return f"{size_text(int(asked[1]))} more could not be had"
    sentences = re.split(r"(?<=[.!]) ", one_line(message))
    return " ".join(sentences[:GPU_SENTENCES]).rstrip(".")


def first_line(error: BaseException) -> str:
    """Return an exception's type and the first line of its message."""
    return "".join(traceback.format_exception_only(error)).strip().splitlines()[0]


def one_line(text: str, longest: int = LONGEST_REASON) -> str:
    """Return a text without line breaks, cut to `longest` characters."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 3]}..."
