"""Sides of a comparison of training or sampling, and their turns.

A side is one or more processes that run as long as the comparison. `Running` starts them and
requests steps by a line of JSON on their stdin. The `Gate` in each process lets its loop take so
many steps, then holds it, and answers on stdout with the seconds that they took and the peak
memory. A step is one training step, or the sampling of one batch of images.
"""

import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from ddpm_bench.errors import UserError
from ddpm_bench.machine.process_group import LOOPBACK, one_node_environment

SECONDS_TO_END = 60
TRIAL_STEPS = 5  # from which the steps of a turn of so many seconds are found
WARM_UP_SHARE = 0.25  # of such a turn, that is not measured
FEWEST_STEPS = 3  # that are measured in it
MOST_LOAD = 0.5  # cores that other programs use, from which a warning is printed


class Work(Protocol):
    """Work of all sides; a dataclass of texts and numbers."""

    folder: str
    batch_size: int
    threads: int


@dataclass(frozen=True)
class Side:
    """One side of a comparison: its program, precision and number of processes.

    compiled: whether torch.compile compiles a peer's network; this project's has keys for it.
    """

    name: str
    program: str
    precision: str
    processes: int = 1
    compiled: bool = False


@dataclass(frozen=True)
class Turn:
    """Numbers of steps of a side's turn: those before the measurement, and those measured."""

    warm_up: int
    steps: int


class Running:
    """Running processes of a side, which all get the same requests."""

    def __init__(
        self, side: Side, work: Work, command: list[str], added: dict[str, str] | None = None
    ) -> None:
        """Prepare a side.

        command: starts a process of the side, with work and side as JSON in its last argument.
        added: environment variables of the processes, beside those of this one.
        """
        self.side, self._work, self._command = side, work, command
        self._added = added or {}
        self._log = Path(work.folder, f"{side.name}.log")
        self._processes: list[subprocess.Popen] = []

    def __enter__(self) -> "Running":
        began = time.perf_counter()
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        keys = json.dumps({"work": asdict(self._work), "side": asdict(self.side)})
        with self._log.open("wb") as log:
            for rank in range(self.side.processes):
                self._processes.append(
                    subprocess.Popen(
                        [*self._command, keys],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=log,
                        env=self._environment(rank, port),
                    )
                )
        self.first = self.ask(warm_up=1, steps=0)
        self.seconds_to_first_step = time.perf_counter() - began
        return self

    def _environment(self, rank: int, port: int) -> dict[str, str]:
        """Return the environment variables of one process, with torchrun's for several."""
        count = self.side.processes
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(max(1, self._work.threads // count)),
            **self._added,
        }
        if count > 1:  # as torchrun sets them
            ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count}
            ranks |= {"LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
            environment |= {name: str(value) for name, value in ranks.items()}
            environment |= {"MASTER_ADDR": LOOPBACK, **one_node_environment()}
        return environment

    def ask(self, warm_up: int, steps: int, parts: bool = False) -> dict:
        """Request steps and return the answer, with the largest numbers of all processes.

        parts: also measure the parts of a step. Raises UserError if a process has ended.
        """
        request = json.dumps({"warm_up": warm_up, "steps": steps, "parts": parts}) + "\n"
        for process in self._processes:
            try:
                process.stdin.write(request.encode())
                process.stdin.flush()
            except BrokenPipeError:
                raise self._failure() from None
        answers = [process.stdout.readline() for process in self._processes]
        if not all(answers):
            raise self._failure()
        first, *others = map(json.loads, answers)
        for name in ("seconds", "peak_memory_mb", "peak_gpu_memory_mb"):
            if name in first:
                first[name] = max(answer[name] for answer in (first, *others))
        return first

    def images_per_second(self, turn: Turn) -> float:
        """Request the steps of a turn and return the speed of those measured."""
        self.last = self.ask(turn.warm_up, turn.steps)
        return turn.steps * self._work.batch_size / self.last["seconds"]

    def turn_of(self, seconds: float) -> Turn:
        """Return a turn that takes about so many seconds, from the speed of a few steps."""
        trial = self.ask(warm_up=TRIAL_STEPS, steps=TRIAL_STEPS)
        return turn_within(seconds, trial["seconds"] / TRIAL_STEPS)

    def _failure(self) -> UserError:
        """Return an error with the last lines of the log."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        last = "\n".join(lines[-15:])
        return UserError(f"the process of {self.side.name} ({self.side.program}) ended:\n{last}")

    def __exit__(self, *exception) -> None:
        for process in self._processes:
            process.stdin.close()
        for process in self._processes:
            try:
                process.wait(SECONDS_TO_END if exception[0] is None else 1)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


def turn_within(seconds: float, seconds_per_step: float) -> Turn:
    """Return a turn that takes about so many seconds, and at least the fewest steps.

    Sides of different speed then get equally long turns, whatever the device.
    """
    steps = seconds / seconds_per_step
    warm_up = max(1, round(WARM_UP_SHARE * steps))
    return Turn(warm_up, max(FEWEST_STEPS, round(steps) - warm_up))


def started(sides: Iterable[Running], held: ExitStack, together: bool = False) -> list[Running]:
    """Start the sides and return them when all have taken their first step.

    One after the other, or all together, where compiling takes a minute on a side and nothing is
    measured yet.
    """
    waiting = list(sides)
    with ThreadPoolExecutor(len(waiting) if together else 1) as starting:
        return list(starting.map(held.enter_context, waiting))


class Gate:
    """Gate that lets a loop take the steps that are requested on stdin, and holds it in between.

    A loop calls `before_step` before each step and is otherwise unchanged.
    """

    def __init__(self, reply) -> None:
        self._reply = reply
        self._steps = self._serve()
        self.about: dict[str, object] = {}  # part of each answer
        self.parts: Callable[[], object] = nullcontext  # measures what a step consists of

    def before_step(self) -> None:
        """Return when the next step is requested; raise SystemExit when stdin has ended."""
        if next(self._steps, "no more") == "no more":
            raise SystemExit(0)

    def _serve(self) -> Iterator[None]:
        """Yield once for each step of each request, and answer the requests."""
        for line in sys.stdin:
            request = json.loads(line)
            for _ in range(request["warm_up"]):
                yield
            with self.parts() if request["parts"] else nullcontext() as parts:
                synchronize()
                began = time.perf_counter()
                for _ in range(request["steps"]):
                    yield
                synchronize()
                seconds = time.perf_counter() - began
            self._answer(seconds=seconds, parts=parts, **self.about)

    def _answer(self, **answer) -> None:
        """Write an answer with the peak memory of this process, in MB of 10^6 bytes."""
        import torch

        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        answer["peak_memory_mb"] = round(rss / 1e6, 1)
        if torch.cuda.is_available():
            answer["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 1e6, 1)
        self._reply.write(json.dumps(answer) + "\n")
        self._reply.flush()


def serve_side(text: str, kind: type[Work], programs: dict[str, Callable]) -> None:
    """Run as the process of a side until stdin ends.

    text: work and side as JSON, from `Running`; kind: the dataclass of the work; programs: the loop
    of each program.
    """
    keys = json.loads(text)
    keys["work"]["dim_mults"] = tuple(keys["work"]["dim_mults"])
    reply = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # keeps output of libraries out of answers
    side = Side(**keys["side"])
    programs[side.program](kind(**keys["work"]), side, Gate(reply))


def synchronize() -> None:
    """Wait until the GPU, if there is one, has finished its work."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


@contextmanager
def watching_kernels() -> Iterator[dict[str, float]]:
    """Measure the seconds in which kernels run on the GPU inside the block: `kernel_seconds`.

    Copies count as kernels. Nothing is added on a CPU, or where the profiler sees no kernel, as
    in containers without access to the GPU's counters.
    """
    import torch

    found: dict[str, float] = {}
    if not torch.cuda.is_available():
        yield found
        return
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as watched:
        yield found
        synchronize()
    if seconds := device_seconds(watched.key_averages()):
        found["kernel_seconds"] = seconds


def device_seconds(events: Iterable) -> float:
    """Return the seconds that the profiler's events took on the device.

    events: of torch.profiler's `key_averages`. Times are those of kernels: the profiler also gives
    the CPU's operators the time of their kernels, and names ranges of kernels ("Optimizer.step").
    """
    from torch.autograd import DeviceType

    return 1e-6 * sum(
        event.self_device_time_total
        for event in events
        if event.device_type != DeviceType.CPU and not getattr(event, "is_user_annotation", False)
    )


def load_before() -> float:
    """Return the number of cores that other programs use, and print a warning if it is high."""
    load = os.getloadavg()[0]
    if load > MOST_LOAD:
        print(
            f"warning: other programs use {load:.1f} cores (load of the last minute): threads then "
            "wait for each other, and the measurements are unreliable",
            file=sys.stderr,
        )
    return load


def in_turns(sides: list[Running], pairs: int, turns: list[Turn]) -> list[dict[str, float]]:
    """Measure rounds of turns; return the images per second of each side in each round.

    turns: one for each side.
    """
    rounds = []
    for number in range(1, pairs + 1):
        speeds = {
            running.side.name: running.images_per_second(turn)
            for running, turn in zip(sides, turns, strict=True)
        }
        rounds.append(speeds)
        text = ", ".join(f"{name} {speed:.1f}" for name, speed in speeds.items())
        print(f"pair {number} of {pairs}: {text} images/s", file=sys.stderr, flush=True)
    return rounds


def ratios(rounds: list[dict[str, float]], peer: str) -> dict[str, float]:
    """Return the ratio of this project's images per second to the peer's: median, smallest and
    largest over all rounds."""
    values = [speeds["ours"] / speeds[peer] for speeds in rounds]
    kinds = {"median": statistics.median, "min": min, "max": max}
    return {kind: round(function(values), 3) for kind, function in kinds.items()}


def compared(sides: list[Running], rounds: list[dict[str, float]]) -> dict[str, object]:
    """Return the measured values under their names in the JSON line."""
    result = {f"ratio_{kind}": value for kind, value in ratios(rounds, "peer").items()}
    for running in sides:
        name = running.side.name
        if name.startswith("peer_"):
            for kind, value in ratios(rounds, name).items():
                result[f"ratio_{name.removeprefix('peer_')}_{kind}"] = value
        speed = statistics.median(speeds[name] for speeds in rounds)
        result[f"images_per_second_{name}"] = round(speed, 2)
        for figure in ("peak_memory_mb", "peak_gpu_memory_mb"):
            if figure in running.last:
                result[f"{figure}_{name}"] = running.last[figure]
        result[f"precision_{name}"] = running.side.precision
        result[f"processes_{name}"] = running.side.processes
        result[f"seconds_to_first_step_{name}"] = round(running.seconds_to_first_step, 2)
    return result


def print_speeds(result: dict[str, object]) -> None:
    """Print a result as text: a line for each side, and the ratios."""
    for name in ("ours", "peer", "peer_like_for_like", "peer_compiled"):
        if f"images_per_second_{name}" not in result:
            continue
        print(
            f"{name.replace('_', ' ')}, {result[f'precision_{name}']}: "
            f"{result[f'images_per_second_{name}']} images/s, "
            f"{result[f'peak_memory_mb_{name}']} MB, "
            f"first step after {result[f'seconds_to_first_step_{name}']} s"
        )
    for key, title in (
        ("ratio", "ratio"),
        ("ratio_like_for_like", "like for like"),
        ("ratio_compiled", "against the compiled peer"),
    ):
        if f"{key}_median" in result:
            median, low, high = (result[f"{key}_{kind}"] for kind in ("median", "min", "max"))
            print(f"{title}: {median} ({low} to {high})")
