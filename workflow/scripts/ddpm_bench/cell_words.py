"""Why a cell has no measurement: what its processes say as they fail, or what their end says.

A process that fails leaves its word, a Failure, in a folder of the cell that all its nodes see.
"""

import re
import signal
import time
import traceback
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from .cell_memory import OUT_OF_MEMORY, how_to_give_more, is_out_of_memory
from .cell_record import Status
from .cells import UnsupportedError
from .config.benchmark import Measuring
from .files import read_json, size_text, write_json
from .last_words import last_words
from .program import UserError

LAST_LINES = 5  # of what a process printed that was ended by a signal
GPU_SENTENCES = 3  # what was asked for, how much the GPU has, how much of it is free
LONGEST_REASON = 400  # characters
# The first of these that any process says is the reason of all.
GRAVITY = ("timed out", "unsupported", "out of memory", "crashed")
# What a process says of another's end, in gloo's words and in NCCL's.
OF_ANOTHER = re.compile(
    r"connection (?:closed|reset|refused|was)|broken pipe|socket|remote process|ncclRemoteError|"
    r"timed out waiting|watchdog",
    re.I,
)


@dataclass(frozen=True)
class Failure:
    """Why a cell has no measurement. when: seconds since 1970."""

    status: Status
    reason: str
    when: float = 0.0


def gravest(failures: Iterable[Failure | None]) -> Failure | None:
    """The one that explains the others: by its kind, then causes before consequences, then the
    earliest."""

    def order(failure: Failure) -> tuple[int, bool, float]:
        consequence = OF_ANOTHER.search(failure.reason) is not None
        return GRAVITY.index(failure.status), consequence, failure.when

    return min((failure for failure in failures if failure), key=order, default=None)


def without_a_word(status: int, said: str, when: float) -> Failure:
    """What the end of a process says that has left no word.

    status: as subprocess has it, negative for a signal; said: the end of what it printed.
    """
    lines = [line for line in said.splitlines() if line.strip()]
    last = last_words(said) or (lines[-1] if lines else "it said nothing")
    if status == -signal.SIGKILL:
        reason = (
            "killed (SIGKILL), as the kernel does when memory runs out: lower batch_size, or ask "
            "the scheduler for more memory"
        )
        return Failure("out of memory", reason, when)
    end = "\n".join(lines[-LAST_LINES:])
    ended = f"ended by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    kind: Status = "out of memory" if OUT_OF_MEMORY.search(end) else "crashed"
    return Failure(kind, _one_line(f"{ended}: {last} (more in the cell's log)"), when)


def word_file(folder: Path, rank: int) -> Path:
    """Where the process of this rank leaves its word."""
    return folder / f"rank-{rank}.json"


def leave_word(path: Path, failure: Failure) -> None:
    """Say what has failed, for `read_word`."""
    write_json(path, asdict(failure))


def read_word(path: Path) -> Failure:
    """What `leave_word` has said."""
    return Failure(**read_json(path))


def why(error: BaseException, measuring: Measuring, ceiling: int | None) -> Failure:
    """The kind of an exception and its reason, in one line."""
    now = time.time()
    if isinstance(error, UnsupportedError | UserError):
        kind: Status = "unsupported" if isinstance(error, UnsupportedError) else "crashed"
        return Failure(kind, _one_line(str(error)), now)
    if is_out_of_memory(error):
        remedy = how_to_give_more(measuring, ceiling)
        return Failure("out of memory", f"{_what_did_not_fit(error)}; {remedy}", now)
    reason = f"{_one_line(_first_line(error))} (traceback in the cell's log)"
    return Failure("crashed", reason, now)


def _what_did_not_fit(error: BaseException) -> str:
    """From the words of torch's allocators, of the CPU or the GPU, or of Python's."""
    while error.__cause__ is not None:  # a pipeline raises its own from it
        error = error.__cause__
    said = str(error) or "out of memory"
    asked = re.search(r"you tried to allocate (\d+) bytes", said)
    if asked:
        return f"{size_text(int(asked[1]))} more could not be had"
    sentences = re.split(r"(?<=[.!]) ", _one_line(said))
    return " ".join(sentences[:GPU_SENTENCES]).rstrip(".")


def _first_line(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error)).strip().splitlines()[0]


def _one_line(text: str, longest: int = LONGEST_REASON) -> str:
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 3]}..."
