"""Starting one training process per GPU on this machine, by torchrun's own agent."""

import ctypes
import logging
import os
import signal
import sys
import tempfile
import uuid
from pathlib import Path

from .program import STOP_SIGNALS

PR_SET_PDEATHSIG = 1  # prctl(2)
STATUS_FILE = "DDPM_BENCH_STATUS_FILE"


def run_processes(processes: int, cpus: int, command: list[str]) -> int:
    """Run a Python program in several processes; returns the exit status of the first.

    The agent runs in this process, which holds the leases of the GPUs: they are free when the
    processes have ended, and not before. A signal to stop is handed on to them as SIGTERM, on which
    they save and leave.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.ERROR)
    os.environ["OMP_NUM_THREADS"] = str(cpus)
    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = ",".join(item.name for item in STOP_SIGNALS)
    with tempfile.TemporaryDirectory() as folder:
        status = Path(folder, "status")
        os.environ[STATUS_FILE] = str(status)
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            run_id=uuid.uuid4().hex,
            max_restarts=0,
        )
        try:
            elastic_launch(config, entrypoint=sys.executable)(*command)
        except (ChildFailedError, SignalException):
            return int(status.read_text()) if status.exists() else 1
        return 0


def is_one_of_several() -> bool:
    """Whether this process was started by `run_processes` or by torchrun."""
    return "LOCAL_RANK" in os.environ


def has_a_launcher() -> bool:
    """Whether torchrun, `accelerate launch` or `run_processes` has started this process."""
    return is_one_of_several() or "ACCELERATE_MIXED_PRECISION" in os.environ


def die_with_the_launcher() -> None:
    """Be told to stop, as by a signal to stop, should the process that started this one die."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def report_status(status: int) -> None:
    """Tell the agent, from the first process, how the program ended: it sees only that it did."""
    if STATUS_FILE in os.environ and os.environ.get("RANK") == "0":
        Path(os.environ[STATUS_FILE]).write_text(str(status))
