#!/usr/bin/env python
"""Measure the peak memory of the programs that jobs run, and fit the coefficients of estimates.

Each program runs on the CPU as the workflow runs it, at several sizes. The peak is that of the
resident set of its largest process, which on a machine without GPUs includes what would lie in a
GPU's memory. It prints a row for each run and the coefficients of
ddpm_bench/planning/memory_estimates.py, fitted to the rows by least squares with none below zero:
`base`, the memory of a program after its imports; `weights`, bytes for each byte of the network's
weights; `activations` and `attention`, bytes for each byte of them (counted by network_size.py) and
each image of a forward pass.

The last line is one JSON object: the coefficients, the largest ratio of a measured peak to a fitted
one, the settings and the machine.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from scipy.optimize import nnls

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from pydantic import TypeAdapter

from ddpm_bench.cli import local_path, run
from ddpm_bench.config.networks import Model
from ddpm_bench.errors import UserError
from ddpm_bench.machine.host import processor
from ddpm_bench.planning.network_size import network_size

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "workflow" / "scripts"
MB = 10**6
NETWORKS = {
    "unet 16": {"name": "unet", "dim": 16, "dim_mults": [1, 2, 4]},
    "unet 32": {"name": "unet", "dim": 32, "dim_mults": [1, 2, 4]},
    "unet 64": {"name": "unet", "dim": 64, "dim_mults": [1, 2, 4, 8]},
    "unet2d 32": {"name": "unet2d", "block_out_channels": [32, 64, 64]},
    "unet2d 64": {"name": "unet2d", "block_out_channels": [64, 128, 128]},
}
# (network, image size, batch)
PASSES = (
    ("unet 16", 16, 8),
    ("unet 16", 32, 64),
    ("unet 16", 64, 32),
    ("unet 32", 32, 16),
    ("unet 32", 32, 64),
    ("unet 64", 16, 2),
    ("unet 64", 32, 16),
    ("unet2d 32", 32, 32),
    ("unet2d 64", 32, 16),
    ("unet 32", 64, 64),
    ("unet2d 64", 64, 32),
)
SCORED = ((64, 1000), (64, 10_000), (2048, 1000), (2048, 4000))  # (features, images)
CHANNELS = 3


@dataclass(frozen=True)
class Run:
    """One run of a program: its peak memory, and the terms that should add up to it."""

    program: str
    about: str
    peak: int  # bytes
    terms: dict[str, float]  # bytes, or a count, by the name of the coefficient


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--threads", type=int, default=1, help="CPU threads of each program")
    options.add_argument(
        "--images", type=local_path, help="folder of photographs, to measure Inception"
    )
    options.add_argument("--compile", action="store_true", help="torch.compile too: minutes")
    options.add_argument("--passes", type=int, default=len(PASSES), help="number of PASSES to run")
    return options.parse_args()


def peak_memory(*command: str | Path, threads: int) -> int:
    """Run a program; return its peak resident set in bytes. Raises UserError if it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": ""}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, *map(str, command)], stdout=log, stderr=log, env=environment
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            raise UserError(f"{command[0]} failed:\n{log.read().decode()[-2000:]}")
    return used.ru_maxrss * 1024


# Training and sampling


def training_runs(folder: Path, given: argparse.Namespace) -> Iterator[Run]:
    """Measure a training of two steps, and sampling one batch from it, for each of PASSES."""
    for number, (name, size, batch) in enumerate(PASSES[: given.passes]):
        here = folder / str(number)
        dataset = random_dataset(here / "dataset", size)
        about = f"{name}, {batch} images of {size}x{size}"
        keys = NETWORKS[name]
        counts = network_size(TypeAdapter(Model).validate_python(keys), CHANNELS, size)
        train = {"batch_size": batch, "checkpoint_every": 2, "learning_rate": 1e-4}
        how = {"cpus": given.threads, "compile": False}
        peak = peak_memory(
            *(SCRIPTS / "train.py", "--what", text(version=1, model=keys, train=train)),
            *("--how", json.dumps(how), "--dataset", dataset, "--experiment", here / "made"),
            *("--last", "2", "--output", here / "made" / "training" / "job.json"),
            threads=given.threads,
        )
        yield Run(
            "train",
            about,
            peak,
            {
                "base": 1,
                "weights": counts.parameters * 4,
                "activations": counts.activations * batch * 4,
                "attention": counts.attention * batch * 4,
            },
        )
        drawing = {"steps": 2, "batch_size": batch}
        what = text(version=1, image_size=size, channels=CHANNELS, model=keys, drawing=drawing)
        peak = peak_memory(
            *(SCRIPTS / "sample.py", "--what", what, "--how", text(cpus=given.threads)),
            *("--manifest", here / "made" / "training" / "job.json", "--step", "2"),
            *("--last", str(batch - 1), "--output", here / "images.npy"),
            *("--timing", here / "images.json"),
            threads=given.threads,
        )
        yield Run(
            "sample",
            about,
            peak,
            {
                "base": 1,
                "weights": counts.parameters * 4,
                "activations": counts.widest * batch * 4,
                "attention": counts.attention * batch * 4,
            },
        )


def compiling_runs(folder: Path, given: argparse.Namespace) -> Iterator[Run]:
    """Measure what torch.compile adds to a training, with all processes that it starts."""
    if not given.compile:
        return
    dataset = random_dataset(folder / "dataset", 16)
    peaks = []
    for compiles in (False, True):
        here = folder / f"compile-{compiles}"
        train = {"batch_size": 8, "checkpoint_every": 2, "learning_rate": 1e-4}
        command = (
            *(SCRIPTS / "train.py", "--what"),
            text(version=1, model=NETWORKS["unet 16"], train=train),
            *("--how", text(cpus=given.threads, compile=compiles), "--dataset", dataset),
            *("--experiment", here, "--last", "2", "--output", here / "training" / "job.json"),
        )
        peaks.append(peak_of_all(*command))
    yield Run("compiling", "of unet 16", peaks[1] - peaks[0], {"base": 1})


def peak_of_all(*command: str | Path) -> int:
    """Run a program; return the peak sum of its and its children's resident sets, in bytes.

    They are read ten times a second. Raises UserError if the program fails.
    """
    program = psutil.Popen([sys.executable, *map(str, command)], stderr=subprocess.DEVNULL)
    peak = 0
    while program.poll() is None:
        total = 0
        with suppress(psutil.NoSuchProcess):
            for process in (program, *program.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    total += process.memory_info().rss
        peak = max(peak, total)
        time.sleep(0.1)
    if program.returncode:
        raise UserError(f"{command[0]} failed with status {program.returncode}")
    return peak


def random_dataset(folder: Path, size: int) -> Path:
    """Write 256 random images, uint8 [256, size, size, CHANNELS], as a prepared dataset."""
    folder.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (256, size, size, CHANNELS), np.uint8)
    np.save(folder / "train.npy", images)
    (folder / "summary.json").write_text(json.dumps({"sha256": {"train": "a" * 64}}))
    return folder


def text(**keys: object) -> str:
    """Return the keys as JSON."""
    return json.dumps(keys)


# Scoring


def scoring_runs(folder: Path, given: argparse.Namespace) -> Iterator[Run]:
    """Measure the features of a reference and the scores of as many images, for each of SCORED.

    Features are those of a random classifier with as many dimensions as needed, on images of 8x8
    pixels, for which the network itself needs little memory.
    """
    for features, images in SCORED:
        here = folder / f"{features}-{images}"
        here.mkdir(parents=True)
        weights = random_classifier(here / "classifier", features)
        samples = np.random.default_rng(1).integers(0, 256, (images, 8, 8, CHANNELS), np.uint8)
        np.save(here / f"images-000000-{images - 1:06}.npy", samples)
        np.save(here / "train.npy", samples[::-1])
        space = {"version": 1, "features": "classifier"}
        about = f"{images} images, {features} features"
        # Each of generated and reference features, as float32, and covariances, as float64.
        terms = {"base": 1, "features": features * images * 4, "covariance": features**2 * 8}
        common = ("--how", text(cpus=given.threads, batch_size=64), "--weights", weights)
        peak = peak_memory(
            *(SCRIPTS / "reference_features.py", "--what", json.dumps(space), *common),
            *("--images", here / "train.npy", "--output", here / "train.npz"),
            threads=given.threads,
        )
        yield Run("reference_features", about, peak, terms)
        what = text(version=1, images=images, reference="train", features=space)
        peak = peak_memory(
            *(SCRIPTS / "score.py", "--what", what, *common),
            *("--samples", here / f"images-000000-{images - 1:06}.npy"),
            *("--reference", here / "train.npz", "--train", here / "train.npz"),
            *("--output", here / "scores.json", "--nearest", here / "nearest.npz"),
            threads=given.threads,
        )
        yield Run("score", about, peak, terms)


def random_classifier(folder: Path, features: int) -> Path:
    """Write a classifier with random weights and return the path of its weights."""
    from ddpm_bench.scoring.features.classifier import (
        WEIGHTS_NAME,
        ClassifierNetwork,
        write_classifier,
    )

    network = ClassifierNetwork(CHANNELS, 8, features, 10)
    about = {"labels": [str(label) for label in range(10)], "features": features}
    sizes = {"channels": CHANNELS, "image_size": 8, "accuracy_train": 0.1, "accuracy_eval": 0.1}
    write_classifier(folder, network, {**about, **sizes})
    return folder / WEIGHTS_NAME


# The other programs, each with one coefficient


def inception_runs(folder: Path, given: argparse.Namespace) -> Iterator[Run]:
    """Measure features of an untrained Inception, whose tensors have the published one's sizes."""
    if given.images is None:
        return
    folder.mkdir(parents=True)
    weights, images = folder / "inception.pth", folder / "train.npy"
    make = ROOT / "tests" / "helpers" / "inception_weights.py"
    subprocess.run(
        [sys.executable, make, "--images", given.images, "--output", weights], check=True
    )
    np.save(images, np.random.default_rng(0).integers(0, 256, (32, 64, 64, CHANNELS), np.uint8))
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    space = text(version=1, features="inception", weights_sha256=digest, weights_name="untrained")
    peak = peak_memory(
        *(SCRIPTS / "reference_features.py", "--what", space, "--how", text(cpus=given.threads)),
        *("--weights", weights, "--images", images, "--output", folder / "train.npz"),
        threads=given.threads,
    )
    yield Run("inception", "reference_features, 32 images", peak, {"base": 1})


def decoding_runs(folder: Path, given: argparse.Namespace) -> Iterator[Run]:
    """Measure the preparation of one photograph of 1, 16 and 64 megapixels."""
    from PIL import Image

    for megapixels in (1, 16, 64):
        here = folder / str(megapixels)
        (here / "source").mkdir(parents=True)
        side = round((megapixels * 1e6) ** 0.5)
        noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(noise).save(here / "source" / "image.jpg", quality=50)
        del noise
        fetched = here / "fetched.json"
        source = text(version=1, source={"kind": "folder", "path": str(here / "source")})
        peak_memory(
            *(SCRIPTS / "fetch.py", "--what", source, "--folder", here / "copy"),
            *("--output", fetched),
            threads=given.threads,
        )
        what = text(version=1, kind="folder", image_size=64)
        peak = peak_memory(
            *(SCRIPTS / "prepare.py", "--what", what, "--how", text(cpus=1)),
            *("--fetched", fetched, "--output", here / "prepared"),
            threads=given.threads,
        )
        terms = {"base": 1, "bytes_per_pixel": megapixels * 1e6}
        yield Run("prepare", f"{megapixels} megapixels", peak, terms)


def small_runs(folder: Path, given: argparse.Namespace) -> Iterator[Run]:
    """Measure the largest program that draws figures, and the snakemake that a job starts."""
    folder.mkdir(parents=True)
    files = []
    for step in range(75):
        files.append(folder / f"{step}.npy")
        np.save(files[-1], np.random.default_rng(step).integers(0, 256, (64, 64, 64, 3), np.uint8))
    peak = peak_memory(
        *(SCRIPTS / "plot_samples.py", "--what", text(version=1)),
        *("--steps", *map(str, range(1, 76)), "--samples", *files),
        *("--output", folder / "all.png", "--animation", folder / "all.gif"),
        threads=given.threads,
    )
    yield Run("figures", "plot_samples, 75 checkpoints of 64x64", peak, {"base": 1})
    command = ("-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--dry-run", "--nolock")
    peak = peak_memory(*command, "--directory", folder, threads=given.threads)
    yield Run("snakemake", "of the demo", peak, {"base": 1})


# Fit


def fitted(runs: list[Run]) -> tuple[dict[str, float], list[float]]:
    """Fit the coefficients, none below zero.

    Returns them by name, and the ratio of the measured peak to the fitted one for each run.
    """
    names = list(runs[0].terms)
    table = np.array([[run.terms[name] for name in names] for run in runs])
    peaks = np.array([run.peak for run in runs], float)
    # Relative errors count: a large run must not hide a small one.
    scale = 1 / peaks[:, None]
    unit = table.max(axis=0).clip(1)
    found, _ = nnls(table / unit * scale, np.ones(len(runs)))
    fit = table / unit @ found
    return dict(zip(names, found / unit, strict=True)), list(peaks / fit)


def main() -> None:
    """Run all programs, and print their peak memory and the fit."""
    given = arguments()
    kinds: tuple[Callable[..., Iterator[Run]], ...] = (
        *(small_runs, decoding_runs, inception_runs),
        *(scoring_runs, training_runs, compiling_runs),
    )
    by_program: dict[str, list[Run]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            for one in kind(Path(folder, kind.__name__), given):
                by_program.setdefault(one.program, []).append(one)
                print(f"{one.program:20} {one.about:40} {one.peak / MB:8.0f} MB", flush=True)
    summary: dict[str, object] = {"processor": processor(), "threads": given.threads}
    for program, runs in by_program.items():
        coefficients, ratios = fitted(runs)
        shown = {name: round(value, 3) for name, value in coefficients.items()}
        summary[program] = {**shown, "largest_measured_over_fitted": round(max(ratios), 3)}
        print(program, summary[program])
        for one, ratio in zip(runs, ratios, strict=True):
            print(f"  {one.about:40} measured over fitted {ratio:.2f}")
    print(json.dumps(summary))


if __name__ == "__main__":
    run(main)
