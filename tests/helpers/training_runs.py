"""Small real trainings for tests: a dataset of random images, train.py as a process."""

import contextlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import numpy as np
import psutil
from places import SCRIPTS
from safetensors.numpy import load_file
from sklearn.datasets import load_digits

from ddpm_bench.errors import STOP_SIGNALS
from ddpm_bench.files import sha256

COUNTED = Path(__file__).with_name("counted_training.py")
MODEL = {"name": "unet", "dim": 8, "dim_mults": [1, 2]}


@dataclass
class Run:
    """An experiment in a folder: `start` gives the process of one training job."""

    folder: Path
    name: str = "small"
    train: dict = field(default_factory=dict)
    how: dict = field(default_factory=dict)
    model: dict = field(default_factory=lambda: MODEL)
    program: Path = SCRIPTS / "train.py"
    options: Sequence[str] = ()  # further ones of train.py
    environment: dict[str, str] = field(default_factory=dict)  # what is added to it

    @property
    def results(self) -> Path:
        return self.folder / self.name

    @property
    def counter(self) -> Path:
        """Return the file in which counted_training.py notes each executed step."""
        return self.folder / f"{self.name}.steps"

    def executed_steps(self) -> int:
        return self.counter.stat().st_size if self.counter.exists() else 0

    def what(self) -> str:
        keys = {"batch_size": 8, "checkpoint_every": 20, "learning_rate": 1e-3, **self.train}
        return json.dumps({"version": 1, "model": self.model, "train": keys})

    def manifest(self, first: int, last: int) -> Path:
        return self.results / "training" / f"job-{first:08}-{last:08}.json"

    def arguments(self, first: int, last: int) -> list[str]:
        given = ["--what", self.what(), "--how", json.dumps({"cpus": 1, **self.how})]
        given += ["--dataset", str(self.folder / "data"), "--experiment", str(self.results)]
        given += ["--first", str(first), "--last", str(last)]
        return [*given, "--output", str(self.manifest(first, last)), *self.options]

    def start(
        self, first: int, last: int, launcher: Sequence[str] = (sys.executable,)
    ) -> subprocess.Popen:
        """The process of a job, in a group of its own; `launcher` is the command that runs it."""
        command = [*launcher, str(self.program), *self.arguments(first, last)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "COUNT_STEPS": str(self.counter)}
        environment |= self.environment
        return subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
        )

    def complete(self, first: int, last: int, timeout: float = 300) -> str:
        """Run a job to its end, in a process of its own; returns what it printed."""
        process = self.start(first, last)
        _, printed = process.communicate(timeout=timeout)
        assert process.returncode == 0, printed
        return printed

    def complete_here(self, first: int, last: int) -> str:
        """Run a job to its end in the test's own process: quicker, for what no signal disturbs."""
        import train

        handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        printed = io.StringIO()
        with (
            patch.object(sys, "argv", ["train.py", *self.arguments(first, last)]),
            contextlib.redirect_stderr(printed),
        ):
            status = train.main()
        for number, handler in handlers.items():
            signal.signal(number, handler)
        assert status == 0, printed.getvalue()
        return printed.getvalue()

    def weights(self, step: int) -> dict[str, np.ndarray]:
        return load_file(self.results / "checkpoints" / f"step-{step:08}.safetensors")

    def checkpoint_bytes(self, step: int) -> bytes:
        return (self.results / "checkpoints" / f"step-{step:08}.safetensors").read_bytes()

    def half_written(self) -> list[Path]:
        """States that are being written, or were when their writer was killed."""
        return list((self.results / "training").glob("*/state/.*.partial*"))

    def states(self) -> list[Path]:
        return sorted((self.results / "training").glob("*/state/step-*"))

    def events(self, name: str) -> list[dict]:
        (path,) = (self.results / "training").glob("*/progress.jsonl")
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [line for line in lines if line["event"] == name]


def write_dataset(folder: Path, images: int = 50, size: int = 8) -> None:
    """Random images as a prepared dataset: train.npy uint8 [N, H, W, 1] and its summary."""
    _save(folder, np.random.RandomState(0).randint(0, 256, (images, size, size, 1), np.uint8))


def write_digits(folder: Path) -> None:
    """scikit-learn's digits at 16x16, as the demo has them."""
    levels = load_digits().images.astype(np.uint8)[..., None] * 15  # [1797, 8, 8, 1], 0 .. 240
    _save(folder, levels.repeat(2, axis=1).repeat(2, axis=2))


def _save(folder: Path, images: np.ndarray) -> None:
    (folder / "data").mkdir(parents=True)
    path = folder / "data" / "train.npy"
    np.save(path, images)
    (folder / "data" / "summary.json").write_text(json.dumps({"sha256": {"train": sha256(path)}}))


def points_of(undisturbed: Run, last: int, timeout: float = 300) -> list[str]:
    """Run a job to its end; returns the names of the points at which its files change, each once,
    in order (kill_points.py)."""
    undisturbed.program = COUNTED
    noted = undisturbed.folder / f"{undisturbed.name}.points"
    undisturbed.environment = {
        "POINTS_BELOW": str(undisturbed.results), "NOTE_POINTS": str(noted)
    }  # fmt: skip
    undisturbed.complete(0, last, timeout)
    undisturbed.environment = {}
    return list(dict.fromkeys(noted.read_text().splitlines()))


def kill_at_points(run: Run, last: int, points: list[str]) -> int:
    """Start a job once for each of the points, and let it die by SIGKILL at the first of that name;
    its end is yet to come. Returns how many left a half-written state."""
    run.program = COUNTED
    half_written = 0
    for point in points:
        run.environment = {"POINTS_BELOW": str(run.results), "KILL_AT": point}
        process = run.start(0, last)
        _, printed = process.communicate(timeout=300)
        assert process.returncode == -signal.SIGKILL, f"{point} was not reached: {printed}"
        half_written += bool(run.half_written())
    run.environment = {}
    return half_written


def kill_at_random(run: Run, last: int, kills: int, seed: int) -> int:
    """Run a job to its end through SIGKILLs at random instants, on top of those at points; every
    third waits for a state that is being written. Returns how many fell before its end.


    The instants are spread evenly in steps, so that they do not depend on the machine's speed.
    """
    chance = random.Random(seed)
    run.program = COUNTED
    killed = 0
    for kill in range(kills):
        process = run.start(0, last)
        goal = run.executed_steps() + chance.randint(0, last // (kills + 1))  # not the end
        while process.poll() is None and run.executed_steps() < goal:
            time.sleep(0.002)
        while kill % 3 == 0 and process.poll() is None and not run.half_written():
            time.sleep(0.0005)
        time.sleep(chance.uniform(0, 0.05) if kill % 3 else 0)
        if process.poll() is not None:  # it was quicker
            assert process.returncode == 0, process.stderr.read()
            break
        kill_with_all_that_it_started(process)
        killed += 1
    run.complete(0, last, timeout=900)
    return killed


def go_on(run: Run, undisturbed: Run, last: int, further: int) -> None:
    """Run the next job of both. Its end shows what the job before it has left: a training that is
    killed when its checkpoints stand is not trained again for the state of its last step."""
    run.program = undisturbed.program = COUNTED
    for one in (run, undisturbed):
        one.complete(last, further)


def kill_with_all_that_it_started(process: subprocess.Popen) -> None:
    """SIGKILL for each process of a training: those of torchrun's agent have sessions of their own,
    and would save and leave when only the agent is killed."""
    agent = psutil.Process(process.pid)
    started = agent.children(recursive=True)
    for one in (*started, agent):
        one.kill()
    psutil.wait_procs(started)
    process.communicate()


def assert_same_outcome(run: Run, undisturbed: Run, last: int) -> None:
    """Weights, last state and metrics.csv are bit-identical."""
    for ours, theirs in zip(
        sorted((run.results / "checkpoints").iterdir()),
        sorted((undisturbed.results / "checkpoints").iterdir()),
        strict=True,
    ):
        assert ours.name == theirs.name and ours.read_bytes() == theirs.read_bytes()
    for name in ("tensors.safetensors", "metrics.csv", "state.json"):
        state = f"step-{last:08}"
        assert run.states()[-1].name == undisturbed.states()[-1].name == state
        ours, theirs = run.states()[-1] / name, undisturbed.states()[-1] / name
        assert ours.read_bytes() == theirs.read_bytes()
    metrics = (run.results / "metrics.csv", undisturbed.results / "metrics.csv")
    assert metrics[0].read_bytes() == metrics[1].read_bytes()


def assert_little_trained_twice(run: Run, last: int, kills: int) -> None:
    """The steps executed in all are at most the total plus kills x steps between saves."""
    (path,) = (run.results / "training").glob("*/progress.jsonl")
    between, since = 0, 0
    for line in path.read_text().splitlines():
        event = json.loads(line)
        if event["event"] in ("started", "resumed"):
            since = event["step"]
        elif event["event"] == "state saved":
            between, since = max(between, event["step"] - since), event["step"]
    assert last <= run.executed_steps() <= last + kills * between


def wait_until(true: Callable[[], bool], process: subprocess.Popen, seconds: float = 120) -> None:
    """Wait until something is so, while a process lives."""
    deadline = time.monotonic() + seconds
    while not true():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def relative_difference(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> float:
    """The norm of the difference over all weights, relative to the norm of the weights."""
    difference = sum(float(((ours[name] - theirs[name]) ** 2).sum()) for name in theirs)
    return (difference / sum(float((value**2).sum()) for value in theirs.values())) ** 0.5
