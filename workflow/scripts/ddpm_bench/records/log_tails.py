"""How logs end: what a program said last, and the words of SLURM when it kills a job.

Imports the standard library only.
"""

import re
from pathlib import Path

TAIL_BYTES = 65536
# slurmstepd of SLURM up to 20.11, since then, and where SLURM itself watches the memory.
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
    """The end of a text file; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def last_words(tail: str) -> str:
    """The last error that a program printed, its own line or the end of a traceback; or nothing."""
    lines = [line.rpartition("\r")[2] for line in tail.splitlines()]
    for index in range(len(lines) - 1, -1, -1):
        if re.match(r"(?:\w+\.py: )?error: ", lines[index]):
            return lines[index]
        if lines[index].startswith("Traceback (most recent call last)"):
            after = (line for line in lines[index + 1 :] if line and not line.startswith(" "))
            return next(after, lines[index])
    return ""
