"""SLURM's warning before the end of a job's wall time, forwarded to the program that can save.

`sbatch --signal=USR1@120` signals the processes that `srun` has started: in a job of Snakemake's,
the Snakemake that runs the rule. It would die of the signal, and the program with it.
"""

import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType

import psutil

WARNING = signal.SIGUSR1
POLL_SECONDS = 1.0


def pass_warnings_on() -> None:
    """Forward SIGUSR1 from now on to the processes below this one that catch it.

    A program that does not catch it (yet) gets no signal: it goes on, and is checked again.
    """
    signal.signal(WARNING, _pass_on)


def _pass_on(number: int, frame: FrameType | None) -> None:
    # In a thread, which may wait: a program catches no signal while it starts.
    threading.Thread(target=_until_caught, name="wall time", daemon=True).start()


def _until_caught() -> None:
    while not (catching := _catching()):
        time.sleep(POLL_SECONDS)
    for pid in catching:
        try:
            os.kill(pid, WARNING)
        except ProcessLookupError:
            continue


def _catching() -> list[int]:
    """Return the processes below this one that have a handler for the warning."""
    below = psutil.Process().children(recursive=True)
    return [process.pid for process in below if catches(process.pid, WARNING)]


def catches(pid: int, number: signal.Signals) -> bool:
    """Return True if a process has a handler for a signal, by SigCgt of proc(5)."""
    return bool(int(_status(pid).get("SigCgt", "0"), 16) >> (number - 1) & 1)


def _status(pid: int) -> dict[str, str]:
    """Return the fields of /proc/<pid>/status; none when the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
