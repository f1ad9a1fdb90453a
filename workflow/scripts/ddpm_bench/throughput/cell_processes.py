"""The processes of a cell: started, watched, and ended together.

torchrun's agent would import torch, and says of a failed process only that it failed. So processes
are started here, with the environment variables that torchrun gives (RANK, WORLD_SIZE, ...). Each
leads a session of its own and is killed with all that it has started: nothing is saved in them, so
there is nothing to wait for.

The word of one that fails (process_words.py) ends the others, which would wait for it in a
collective operation for ever.
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
from types import FrameType

from ddpm_bench.config.benchmark import CellStage
from ddpm_bench.errors import STOP_SIGNALS
from ddpm_bench.machine.launch import Share, run_on_nodes
from ddpm_bench.machine.process_failures import (
    ProcessFailure,
    failure_file,
    failure_without_record,
    gravest,
    read_failure,
)
from ddpm_bench.records.log_tails import TAIL_BYTES

LOOK_SECONDS = 0.05
# One that fails takes the connections of the others down: their words may come before its own.
SECONDS_TO_SPEAK = 2.0
CELL_FOLDER = "DDPM_BENCH_CELL_FOLDER"
LAUNCHER = "DDPM_BENCH_CELL_LAUNCHER"  # the process id of who started this process of a cell
CEILING = "DDPM_BENCH_CELL_CEILING_BYTES"


@dataclass(frozen=True)
class NodeOutcome:
    """How the processes of a node ended; signal: what asked to stop, of STOP_SIGNALS.

    With both, the failure came first.
    """

    failure: ProcessFailure | None = None
    signal: int | None = None


@dataclass(frozen=True)
class Launch:
    """What is started on a node: `processes` times the same Python program."""

    command: list[str]  # the program and its arguments
    processes: int
    cpus: int  # of each
    minutes: float
    folder: Path  # where words are left
    ceiling_bytes: int | None = None  # of memory, of each
    on_cpus: bool = False  # GPUs that were not leased are not used, whatever torch sees of them
    share: Share = field(default_factory=Share)


def run_workers(launch: Launch) -> NodeOutcome:
    """Start the processes of this node and wait until all have ended; none is left afterwards.

    A failure of one, the time limit or a signal to stop ends them all.
    """
    deadline = time.monotonic() + 60 * launch.minutes
    with _caught_signals() as caught, _started(launch) as workers:
        while any(worker.runs() for worker in workers):
            if caught:
                return NodeOutcome(signal=caught[0])
            if time.monotonic() > deadline:
                return NodeOutcome(_too_long(launch.minutes))
            if any(worker.failed() for worker in workers):
                time.sleep(LOOK_SECONDS)
                if caught:  # SLURM's signals go to the processes as well as to us
                    return NodeOutcome(signal=caught[0])
                _let_others_speak(workers)
                break
            time.sleep(LOOK_SECONDS)
        for worker in workers:
            worker.end()
        failure = gravest(worker.failure() for worker in workers)
        return NodeOutcome(failure, caught[0] if caught else None)


def _too_long(minutes: float) -> ProcessFailure:
    return ProcessFailure(
        "timed out",
        f"not measured after {minutes:g} minutes (benchmark.run.minutes_per_cell): raise it and "
        "delete the cell's file, or lower batch_size, steps or repetitions",
        time.time(),
    )


def _let_others_speak(workers: list["Worker"]) -> None:
    """Wait a little for words that may be the cause of what has been said."""
    until = time.monotonic() + SECONDS_TO_SPEAK
    while any(worker.runs() for worker in workers) and time.monotonic() < until:
        found = gravest(worker.failure() for worker in workers)
        if found and found.status != "crashed":
            return
        time.sleep(LOOK_SECONDS)


@contextmanager
def _caught_signals() -> Iterator[list[int]]:
    """The signals to stop that have come since, in their order."""
    caught: list[int] = []

    def catch(number: int, _: FrameType | None) -> None:
        caught.append(number)

    before = {number: signal.signal(number, catch) for number in STOP_SIGNALS}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _started(launch: Launch) -> Iterator[list["Worker"]]:
    with ExitStack() as ended:
        workers = []
        for local_rank in range(launch.processes):
            workers.append(Worker(launch, local_rank))
            ended.callback(workers[-1].end)
        yield workers


def worker_environment(launch: Launch, local_rank: int) -> dict[str, str]:
    """The environment of one process: torchrun's variables, where there are several, and ours."""
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
    if launch.on_cpus:
        ours["CUDA_VISIBLE_DEVICES"] = ""
    if launch.ceiling_bytes is not None:
        ours[CEILING] = launch.ceiling_bytes
    return {**os.environ, **{name: str(value) for name, value in ours.items()}}


class Worker:
    """One process of a cell; what it prints goes on to our stderr, and its end is kept."""

    def __init__(self, launch: Launch, local_rank: int) -> None:
        self._word = failure_file(launch.folder, launch.share.rank * launch.processes + local_rank)
        self._tail = b""
        self._ended_by_itself: float | None = None  # seconds since 1970
        self._process = subprocess.Popen(
            [sys.executable, *launch.command],
            env=worker_environment(launch, local_rank),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._listener = threading.Thread(target=self._pass_on, daemon=True)
        self._listener.start()

    def _pass_on(self) -> None:
        assert self._process.stdout is not None
        begun = b""  # a line: what processes print at the same time would run into each other
        while printed := os.read(self._process.stdout.fileno(), 65536):
            self._tail = (self._tail + printed)[-TAIL_BYTES:]
            begun += printed
            end = max(begun.rfind(b"\n"), begun.rfind(b"\r")) + 1
            _print(begun[:end])
            begun = begun[end:]
        _print(begun)

    def runs(self) -> bool:
        """Whether it has not ended."""
        if self._process.poll() is None:
            return True
        self._ended_by_itself = self._ended_by_itself or time.time()
        return False

    def failed(self) -> bool:
        """Whether it has ended badly, by itself, or is about to."""
        return self._word.exists() or (not self.runs() and self._process.returncode != 0)

    def end(self) -> None:
        """Kill it and all that it has started, and hear what it said last."""
        self.runs()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._listener.join(1)

    def failure(self) -> ProcessFailure | None:
        """Its word, or what its end says; None where it ended well, or was ended by us."""
        if self._word.exists():
            return read_failure(self._word)
        if self._ended_by_itself is None or self._process.returncode == 0:
            return None
        said = self._tail.decode("utf-8", "replace")
        return failure_without_record(
            self._process.returncode, said, self._ended_by_itself, "cell's log"
        )


def _print(text: bytes) -> None:
    with suppress(OSError, ValueError):  # nobody reads it any more
        sys.stderr.buffer.write(text)
        sys.stderr.buffer.flush()


SECONDS_TO_REACH_NODES = 120  # beyond the cell's own time, for srun to begin and to end


def run_nodes(stage: CellStage, minutes: float, folder: Path) -> NodeOutcome:
    """Run this program once on each node of a cell; the words that they leave say how it went.

    minutes: of the cell. Raises UserError outside a SLURM job.
    """
    cell = stage.cell
    os.environ[CELL_FOLDER] = str(folder)
    too_late = threading.Event()

    def stop() -> None:  # as on a signal to stop, which run_on_nodes hands on
        too_late.set()
        os.kill(os.getpid(), signal.SIGTERM)

    # The nodes keep the time themselves; this is for a srun that never gets to start them.
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
    said = gravest(read_failure(path) for path in folder.glob(word_of_node(folder, "*").name))
    if said is None and too_late.is_set():
        said = ProcessFailure("timed out", f"srun did not start and end {cell.nodes} nodes in time")
    if said is None and ended.signal is not None:
        return NodeOutcome(signal=ended.signal)
    if said is None and ended.status:
        said = ProcessFailure(
            "crashed", f"srun ended with status {ended.status} (more in the cell's log)"
        )
    return NodeOutcome(said)


def word_of_node(folder: Path, rank: int | str) -> Path:
    """Where a node leaves why its processes failed."""
    return folder / f"node-{rank}.json"
