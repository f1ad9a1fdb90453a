"""Ends of logs: the last error of a program, and SLURM's messages about killed jobs.

Imports the standard library only.
"""

import re
from pathlib import Path

TAIL_BYTES = 65536
# Messages of slurmstepd up to SLURM 20.11 and later, and of SLURM's own memory limit.
OUT_OF_MEMORY = re.compile(
    r"out of memory handler|oom[-_]kill|OOM killed|exceeded (?:job |step )?memory limit", re.I
)
# Of torch's allocators, cuBLAS and cuDNN, of C++, of glibc's threads and of OpenMP's.
ALLOCATION_FAILED = re.compile(
    r"out of memory|not enough memory|ALLOC(?:ATION)?_FAILED|std::bad_alloc"
    r"|(?:can't|cannot) allocate memory"
    r"|Thread creation failed|can't start new thread",
    re.I,
)


def log_tail(path: Path) -> str:
    """Return the last 64 KiB of a text file; an empty text if it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def last_words(tail: str) -> str:
    """Return the last error that a program printed: its error line, or the end of a traceback.

    An empty text if there is none.
    """
    lines = [line.rpartition("\r")[2] for line in tail.splitlines()]
    for index in range(len(lines) - 1, -1, -1):
        if re.match(r"(?:\w+\.py: )?error: ", lines[index]):
            return lines[index]
        if lines[index].startswith("Traceback (most recent call last)"):
            after = (line for line in lines[index + 1 :] if line and not line.startswith(" "))
            return next(after, lines[index])
    return ""
