"""Small real trainings for tests: a dataset of random images, train.py as a process."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from ddpm_bench.files import sha256

SCRIPTS = Path(__file__).resolve().parents[1] / "workflow" / "scripts"
MODEL = {"name": "unet", "dim": 8, "dim_mults": [1, 2]}


@dataclass
class Run:
    """An experiment in a folder: `start` gives the process of one training job."""

    folder: Path
    name: str = "small"
    train: dict = field(default_factory=dict)
    how: dict = field(default_factory=dict)
    model: dict = field(default_factory=lambda: MODEL)
    options: Sequence[str] = ()  # further ones of train.py

    @property
    def results(self) -> Path:
        return self.folder / self.name

    def what(self) -> str:
        keys = {"batch_size": 8, "checkpoint_every": 20, "learning_rate": 1e-3, **self.train}
        return json.dumps({"version": 1, "model": self.model, "train": keys})

    def manifest(self, first: int, last: int) -> Path:
        return self.results / "training" / f"job-{first:08}-{last:08}.json"

    def start(self, first: int, last: int, before: Sequence[str] = ()) -> subprocess.Popen:
        """The process of a job, in a group of its own; `before` is a command that runs it."""
        command = [*before, sys.executable, str(SCRIPTS / "train.py"), "--what", self.what()]
        command += ["--how", json.dumps({"cpus": 1, **self.how})]
        command += ["--dataset", str(self.folder / "data"), "--experiment", str(self.results)]
        command += ["--first", str(first), "--last", str(last)]
        command += ["--output", str(self.manifest(first, last)), *self.options]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
        )

    def complete(self, first: int, last: int) -> str:
        """Run a job to its end; returns what it printed."""
        process = self.start(first, last)
        _, printed = process.communicate(timeout=300)
        assert process.returncode == 0, printed
        return printed

    def weights(self, step: int) -> dict[str, np.ndarray]:
        return load_file(self.results / "checkpoints" / f"step-{step:08}.safetensors")

    def checkpoint_bytes(self, step: int) -> bytes:
        return (self.results / "checkpoints" / f"step-{step:08}.safetensors").read_bytes()

    def states(self) -> list[Path]:
        return sorted((self.results / "training").glob("*/state/step-*"))

    def events(self, name: str) -> list[dict]:
        (path,) = (self.results / "training").glob("*/progress.jsonl")
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [line for line in lines if line["event"] == name]


def write_dataset(folder: Path, images: int = 50, size: int = 8) -> None:
    """Random images as a prepared dataset: train.npy uint8 [N, H, W, 1] and its summary."""
    (folder / "data").mkdir(parents=True)
    path = folder / "data" / "train.npy"
    np.save(path, np.random.RandomState(0).randint(0, 256, (images, size, size, 1), np.uint8))
    (folder / "data" / "summary.json").write_text(json.dumps({"sha256": {"train": sha256(path)}}))


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
