"""Why processes failed: what they say as they do, or what their end says.

A process that fails leaves its word, a Failure, in a folder that who started it looks into.
"""

import re
import signal
import traceback
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from ddpm_bench.files import read_json, write_json
from ddpm_bench.machine.memory_limit import OUT_OF_MEMORY
from ddpm_bench.records.log_tails import last_words
from ddpm_bench.text import size_text

LAST_LINES = 5  # of what a process printed that was ended by a signal
GPU_SENTENCES = 3  # what was asked for, how much the GPU has, how much of it is free
LONGEST_REASON = 400  # characters
# The first of these that any process says is the reason of all.
GRAVITY = ("timed out", "unsupported", "out of memory", "diverged", "crashed")
# What a process says of another's end, in gloo's words and in NCCL's.
OF_ANOTHER = re.compile(
    r"connection (?:closed|reset|refused|was)|broken pipe|socket|remote process|ncclRemoteError|"
    r"timed out waiting|watchdog",
    re.I,
)


@dataclass(frozen=True)
class ProcessFailure:
    """Why a process failed: one of GRAVITY, and in words. when: seconds since 1970."""

    status: str
    reason: str
    when: float = 0.0


def is_consequence(failure: ProcessFailure) -> bool:
    """Whether a crash says no more than that another process has ended."""
    return failure.status == "crashed" and OF_ANOTHER.search(failure.reason) is not None


def gravest(failures: Iterable[ProcessFailure | None]) -> ProcessFailure | None:
    """The one that explains the others: by its kind, then causes before consequences, then the
    earliest."""

    def order(failure: ProcessFailure) -> tuple[int, bool, float]:
        consequence = OF_ANOTHER.search(failure.reason) is not None
        return GRAVITY.index(failure.status), consequence, failure.when

    return min((failure for failure in failures if failure), key=order, default=None)


def failure_without_record(status: int, said: str, when: float, log: str = "log") -> ProcessFailure:
    """What the end of a process says that has left no word.

    status: as subprocess has it, negative for a signal; said: the end of what it printed; log:
    where there is more of it.
    """
    lines = [line for line in said.splitlines() if line.strip()]
    last = last_words(said) or (lines[-1] if lines else "it said nothing")
    if status == -signal.SIGKILL:
        reason = (
            "killed (SIGKILL), as the kernel does when memory runs out: lower batch_size, or ask "
            "the scheduler for more memory"
        )
        return ProcessFailure("out of memory", reason, when)
    end = "\n".join(lines[-LAST_LINES:])
    ended = f"ended by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    kind = "out of memory" if OUT_OF_MEMORY.search(end) else "crashed"
    return ProcessFailure(kind, one_line(f"{ended}: {last} (more in the {log})"), when)


def word_file(folder: Path, rank: int | str) -> Path:
    """Where the process of this rank leaves its word."""
    return folder / f"rank-{rank}.json"


def write_failure(path: Path, failure: ProcessFailure) -> None:
    """Say what has failed, for `read_word`."""
    write_json(path, asdict(failure))


def read_word(path: Path) -> ProcessFailure:
    """What `leave_word` has said."""
    return ProcessFailure(**read_json(path))


def what_did_not_fit(error: BaseException) -> str:
    """From the words of torch's allocators, of the CPU or the GPU, or of Python's."""
    while error.__cause__ is not None:  # a pipeline raises its own from it
        error = error.__cause__
    said = str(error) or "out of memory"
    asked = re.search(r"you tried to allocate (\d+) bytes", said)
    if asked:
        return f"{size_text(int(asked[1]))} more could not be had"
    sentences = re.split(r"(?<=[.!]) ", one_line(said))
    return " ".join(sentences[:GPU_SENTENCES]).rstrip(".")


def first_line(error: BaseException) -> str:
    """Its type and the first line of what it says."""
    return "".join(traceback.format_exception_only(error)).strip().splitlines()[0]


def one_line(text: str, longest: int = LONGEST_REASON) -> str:
    """A text without line breaks, and cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 3]}..."
