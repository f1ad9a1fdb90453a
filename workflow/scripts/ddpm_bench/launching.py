"""Starting one training process per GPU on this machine, through torchrun."""

import ctypes
import os
import signal
import subprocess
import sys

from .program import EXIT_SAVED_AND_STOPPED

PR_SET_PDEATHSIG = 1  # prctl(2)


def run_processes(processes: int, cpus: int, command: list[str]) -> int:
    """Run a Python program in several processes; returns its exit status.

    SIGTERM, SIGUSR1 and SIGINT are handed on as SIGTERM, on which torchrun lets its processes save
    and leave; then the status is 75. Should this process die, torchrun is told to stop too.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(cpus)}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    torchrun += [f"--nproc-per-node={processes}", *command]
    stopped = False

    def hand_on(number: int, frame: object) -> None:
        nonlocal stopped
        stopped = True
        child.send_signal(signal.SIGTERM)

    child = subprocess.Popen(torchrun, env=environment, preexec_fn=_die_with_parent)
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, hand_on)
    status = child.wait()
    return EXIT_SAVED_AND_STOPPED if stopped and status else status


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
