"""SLURM's warning before a job's wall time is over, passed on to the program that can save.

`sbatch --signal=USR1@120` signals what `srun` has started: in a job of Snakemake's, the Snakemake
that runs the rule. It would die of the signal, and the program with it.
"""

import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType

WARNING = signal.SIGUSR1
LOOK_SECONDS = 1.0


def pass_warnings_on() -> None:
    """From now on, pass SIGUSR1 on to those below this process that catch it, instead of dying.

    A program that does not catch it (yet) is left in peace: it goes on, and is looked at again.
    """
    signal.signal(WARNING, _pass_on)


def _pass_on(number: int, frame: FrameType | None) -> None:
    # In a thread, which may wait: a program that still starts catches nothing.
    threading.Thread(target=_until_caught, name="wall time", daemon=True).start()


def _until_caught() -> None:
    while not (catching := [pid for pid in descendants(os.getpid()) if catches(pid, WARNING)]):
        time.sleep(LOOK_SECONDS)
    for pid in catching:
        try:
            os.kill(pid, WARNING)
        except ProcessLookupError:
            continue


def descendants(pid: int) -> list[int]:
    """All processes below one, as /proc has them now."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        parent = _status(int(path.name)).get("PPid")
        if parent is not None:
            children.setdefault(int(parent), []).append(int(path.name))
    found, last = [], [pid]
    while last:
        last = [child for parent in last for child in children.get(parent, [])]
        found += last
    return found


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal, by SigCgt of proc(5)."""
    return bool(int(_status(pid).get("SigCgt", "0"), 16) >> (number - 1) & 1)


def _status(pid: int) -> dict[str, str]:
    """/proc/<pid>/status; empty when the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
