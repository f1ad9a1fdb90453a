"""Processes of a cell: started, watched, and ended together.

torchrun's agent would import torch, and it reports of a failed process only that it failed. So
processes are started here, with the environment variables that torchrun sets (RANK, WORLD_SIZE,
...). Each leads a session of its own and is killed with all that it has started: they save nothing,
so there is no need to wait for them.

A process that fails records why (process_failures.py). Its record ends the other processes, which
would otherwise wait for it for ever in a collective operation.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ddpm_bench.config.benchmark import CellStage
from ddpm_bench.machine.launch import Share, run_on_nodes
from ddpm_bench.machine.output_relay import OutputRelay, whole_lines
from ddpm_bench.machine.process_failures import (
    ProcessFailure,
    failure_file,
    failure_without_record,
    gravest,
    read_failure,
)
from ddpm_bench.machine.process_group import one_node_environment
from ddpm_bench.machine.signals import caught_stop_signals

POLL_SECONDS = 0.05
# A process that fails closes the connections of the others: they may record their failures first.
SECONDS_FOR_OTHER_FAILURES = 2.0
CELL_FOLDER = "DDPM_BENCH_CELL_FOLDER"
LAUNCHER = "DDPM_BENCH_CELL_LAUNCHER"  # process id of the program that started this process
CEILING = "DDPM_BENCH_CELL_CEILING_BYTES"


@dataclass(frozen=True)
class NodeOutcome:
    """End of a node's processes: no failure, a failure, or a signal to stop.

    signal: the number of the signal, one of STOP_SIGNALS. Where both are set, the failure came
    first.
    """

    failure: ProcessFailure | None = None
    signal: int | None = None


@dataclass(frozen=True)
class Launch:
    """Start parameters of a node's processes, which all run the same Python program."""

    command: list[str]  # the program and its arguments
    processes: int
    cpus: int  # cores of each process
    minutes: float  # time limit of all
    folder: Path  # where processes record their failures
    ceiling_bytes: int | None = None  # memory limit of each process
    on_cpus: bool = False  # hides GPUs from the processes: none were leased for them
    share: Share = field(default_factory=Share)


def run_workers(launch: Launch) -> NodeOutcome:
    """Start the processes of this node, wait until all have ended and return how they did.

    A failure of one process, the time limit or a signal to stop ends them all; no process is left
    when this returns.
    """
    deadline = time.monotonic() + 60 * launch.minutes
    with caught_stop_signals() as caught, _started(launch) as workers:
        while any(worker.runs() for worker in workers):
            if caught:
                return NodeOutcome(signal=caught[0])
            if time.monotonic() > deadline:
                return NodeOutcome(_timeout_failure(launch.minutes))
            if any(worker.failed() for worker in workers):
                time.sleep(POLL_SECONDS)
                if caught:  # SLURM sends signals to the processes as well as to this one
                    return NodeOutcome(signal=caught[0])
                _wait_for_other_failures(workers)
                break
            time.sleep(POLL_SECONDS)
        for worker in workers:
            worker.end()
        failure = gravest(worker.failure() for worker in workers)
        return NodeOutcome(failure, caught[0] if caught else None)


def _timeout_failure(minutes: float) -> ProcessFailure:
    """Return the failure of a cell that reached its time limit."""
    return ProcessFailure(
        "timed out",
        f"not measured after {minutes:g} minutes (benchmark.run.minutes_per_cell): raise it and "
        "delete the cell's file, or lower batch_size, steps or repetitions",
        time.time(),
    )


def _wait_for_other_failures(workers: list["Worker"]) -> None:
    """Wait a little for failures of other processes, which may have caused the first one seen."""
    until = time.monotonic() + SECONDS_FOR_OTHER_FAILURES
    while any(worker.runs() for worker in workers) and time.monotonic() < until:
        found = gravest(worker.failure() for worker in workers)
        if found and found.status != "crashed":
            return
        time.sleep(POLL_SECONDS)


@contextmanager
def _started(launch: Launch) -> Iterator[list["Worker"]]:
    """Start the processes of a node; end those that still run when the block ends."""
    with ExitStack() as ended:
        workers = []
        for local_rank in range(launch.processes):
            workers.append(Worker(launch, local_rank))
            ended.callback(workers[-1].end)
        yield workers


def worker_environment(launch: Launch, local_rank: int) -> dict[str, str]:
    """Return the environment variables of one process: torchrun's, and those of this module."""
    nodes, here = launch.share.nodes, launch.processes
    host, _, port = launch.share.meeting_point.rpartition(":")
    ours = {
        "OMP_NUM_THREADS": launch.cpus,
        "RANK": launch.share.rank * here + local_rank,
        "LOCAL_RANK": local_rank,
        "WORLD_SIZE": nodes * here,
        "LOCAL_WORLD_SIZE": here,
        "MASTER_ADDR": host,
        "MASTER_PORT": port,
        CELL_FOLDER: launch.folder,
        LAUNCHER: os.getpid(),
    }
    if nodes == 1:
        ours |= one_node_environment()
    if launch.on_cpus:
        ours["CUDA_VISIBLE_DEVICES"] = ""
    if launch.ceiling_bytes is not None:
        ours[CEILING] = launch.ceiling_bytes
    return {**os.environ, **{name: str(value) for name, value in ours.items()}}


class Worker:
    """One process of a cell; its output is relayed to this program's stderr, the last of it kept.

    local_rank: the number of the process on this node, from 0.
    """

    def __init__(self, launch: Launch, local_rank: int) -> None:
        rank = launch.share.rank * launch.processes + local_rank
        self._failure_file = failure_file(launch.folder, rank)
        self._ended_by_itself: float | None = None  # seconds since 1970
        self._process = subprocess.Popen(
            [sys.executable, *launch.command],
            env=worker_environment(launch, local_rank),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        # In whole lines, so that those of several processes stay apart.
        self._relay = OutputRelay(self._process.stdout, ready=whole_lines)

    def runs(self) -> bool:
        """Return true while the process has not ended."""
        if self._process.poll() is None:
            return True
        self._ended_by_itself = self._ended_by_itself or time.time()
        return False

    def failed(self) -> bool:
        """Return true if the process has recorded a failure or has ended with an error."""
        return self._failure_file.exists() or (not self.runs() and self._process.returncode != 0)

    def end(self) -> None:
        """Kill the process and all that it has started, and read the rest of its output."""
        self.runs()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._relay.end()

    def failure(self) -> ProcessFailure | None:
        """Return the failure that the process recorded, or one made from its exit status and its
        last output; None where it succeeded or `end` ended it."""
        if self._failure_file.exists():
            return read_failure(self._failure_file)
        if self._ended_by_itself is None or self._process.returncode == 0:
            return None
        return failure_without_record(
            self._process.returncode, self._relay.tail, self._ended_by_itself, "cell's log"
        )


SECONDS_TO_REACH_NODES = 120  # beyond the cell's own time, for srun to begin and to end


def run_nodes(stage: CellStage, minutes: float, folder: Path) -> NodeOutcome:
    """Run this program once on each node of a cell and return how it ended.

    minutes: time limit of the cell. folder: where nodes record their failures; all nodes see it.
    Raises UserError outside a SLURM job.
    """
    cell = stage.cell
    os.environ[CELL_FOLDER] = str(folder)
    too_late = threading.Event()

    def stop() -> None:  # run_on_nodes forwards this signal to srun
        too_late.set()
        os.kill(os.getpid(), signal.SIGTERM)

    # The nodes keep the time limit themselves; this one is for an srun that never starts them.
    limit = threading.Timer(60 * minutes + SECONDS_TO_REACH_NODES, stop)
    limit.daemon = True
    limit.start()
    stopped: list[int] = []
    try:
        ended = run_on_nodes(cell.nodes, cell.processes, stage.measuring.cpus, sys.argv, stopped)
    finally:
        limit.cancel()
    if stopped and not too_late.is_set():
        return NodeOutcome(signal=stopped[0])
    files = folder.glob(node_failure_file(folder, "*").name)
    failure = gravest(read_failure(path) for path in files)
    if failure is None and too_late.is_set():
        reason = f"srun did not start and end {cell.nodes} nodes in time"
        failure = ProcessFailure("timed out", reason)
    if failure is None and ended.signal is not None:
        return NodeOutcome(signal=ended.signal)
    if failure is None and ended.status:
        failure = ProcessFailure(
            "crashed", f"srun ended with status {ended.status} (more in the cell's log)"
        )
    return NodeOutcome(failure)


def node_failure_file(folder: Path, rank: int | str) -> Path:
    """Return the path where a node records why its processes failed."""
    return folder / f"node-{rank}.json"
