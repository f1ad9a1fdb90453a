#!/usr/bin/env python
"""Compare scoring with the programs of pytorch-fid and torch-fidelity.

Five checkpoints of 1,000 images at 64x64 are scored against 1,541 images, both numbers times
--scale. The peers run as their users run them, once for each checkpoint on two folders of PNG
files:

    python -m pytorch_fid generated reference
    fidelity --fid --kid --isc --prc --feature-extractor inception-v3-compat ...

This project's side is what the workflow runs: reference_features.py once, then score.py for each
checkpoint, on the arrays that sampling writes. It computes FID with its deviation, IS, KID,
precision, recall, density, coverage and distances to training images; torch-fidelity's program
computes FID, IS, KID, precision and recall; pytorch-fid's computes FID after its own resize, which
this project does only with `fid_backend: pytorch-fid`.

All sides have the same images, batch, threads and weights, in float32 on the CPU, and every program
is a new process: users wait for its imports too. Sides take turns. The reference is photographs;
the generated images are other crops of them under noise, less from checkpoint to checkpoint.
Without --weights a random Inception is calibrated on --images; its scores have no meaning, but can
be compared for equality.

Ratios are the peers' seconds over this project's, of both peers together and of each alone: above
1, this project is faster. Peak memory is that of the largest process, in MB of 10^6 bytes.
Differences are the largest relative differences of any checkpoint's scores from torch-fidelity's.

--memory measures instead the peak memory of reference_features.py on --memory-images images. A
random classifier of 2,048 features, as many as Inception has, passes over images of 16x16: that
includes all memory that grows with the number of images, and leaves out Inception's own tensors.

The last line is one JSON object.
"""

import argparse
import hashlib
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))
from turns import load_before

from ddpm_bench.cli import local_path, run
from ddpm_bench.config.scoring import PUBLISHED_INCEPTION_SHA256
from ddpm_bench.errors import UserError
from ddpm_bench.images.decoding import Square, read_square
from ddpm_bench.machine.host import processor

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "workflow" / "scripts"
GENERATED, REFERENCE = 1000, 1541
CACHED_NAMES = (  # file names under which the peers keep the downloaded weights
    "pt_inception-2015-12-05-6726825d.pth",
    "weights-inception-2015-12-05-6726825d.pth",
)
THEIR_NAMES = {
    "fid": "frechet_inception_distance",
    "is_mean": "inception_score_mean",
    "kid_mean": "kernel_inception_distance_mean",
    "precision": "precision",
    "recall": "recall",
}


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cores = len(os.sched_getaffinity(0))
    add = options.add_argument
    add("--images", type=local_path, required=True, help="folder of photographs")
    add(
        "--weights",
        type=local_path,
        help="weights of Inception; without them a random calibrated one",
    )
    add("--scale", type=float, default=0.1, help="factor of both numbers of images (0.1)")
    add("--pairs", type=int, default=5, help="turns of each side (5)")
    add("--checkpoints", type=int, default=5, help="checkpoints scored in each turn (5)")
    add("--image-size", type=int, default=64, help="pixels (64)")
    add("--batch-size", type=int, default=16, help="images per forward pass (16)")
    add("--threads", type=int, default=cores, help=f"threads of each process ({cores})")
    add("--memory", action="store_true", help="measure peak memory of many images instead")
    add("--memory-images", type=int, default=50_000, help="how many (50000)")
    return options.parse_args()


@dataclass
class Scoring:
    """Images on disk that all sides score, and the settings of all sides."""

    folder: Path
    checkpoints: int
    generated: int
    reference: int
    weights: Path
    weights_sha256: str
    batch_size: int
    threads: int

    @property
    def kid_subset_size(self) -> int:
        """Images per subset of KID."""
        return min(1000, self.generated, self.reference)


@dataclass
class Turn:
    """Time and memory of a side, and its scores of each checkpoint."""

    seconds: float = 0.0
    peak_memory: int = 0  # bytes
    scores: list[dict[str, float]] = field(default_factory=list)


# Images


def prepare(args: argparse.Namespace, folder: Path) -> Scoring:
    """Write the reference and each checkpoint's images as an array and as PNG files."""
    suffixes = (".jpg", ".jpeg", ".png")
    files = sorted(file for file in args.images.rglob("*") if file.suffix.lower() in suffixes)
    generated, reference = (round(count * args.scale) for count in (GENERATED, REFERENCE))
    if len(files) < reference or generated < 10:
        raise UserError(
            f"{args.images}: holds {len(files)} photographs, and --scale {args.scale} takes "
            f"{reference} of them and {generated} generated images (10 or more); change --scale"
        )
    chosen = [files[index * len(files) // reference] for index in range(reference)]
    write_images(folder / "reference", "train.npy", photographs(chosen, args.image_size))
    others = [files[(index * 7 + 3) % len(files)] for index in range(generated)]
    crops = photographs(others, args.image_size + args.image_size // 4)
    random = np.random.default_rng(0)
    for checkpoint in range(args.checkpoints):
        left, top = random.integers(0, args.image_size // 4, 2)
        images = crops[:, top : top + args.image_size, left : left + args.image_size]
        noise = random.integers(0, 256, images.shape)
        share = 0.2 / (checkpoint + 1)
        images = (images * (1 - share) + noise * share).astype(np.uint8)
        name = f"images-000000-{generated - 1:06}.npy"
        write_images(folder / f"checkpoint-{checkpoint}", name, images)
    weights, digest = weights_of(args, folder)
    return Scoring(
        folder=folder,
        checkpoints=args.checkpoints,
        generated=generated,
        reference=reference,
        weights=weights,
        weights_sha256=digest,
        batch_size=args.batch_size,
        threads=args.threads,
    )


def photographs(files: list[Path], size: int) -> np.ndarray:
    """Read photographs as squares, uint8 [N, size, size, 3]; unreadable files are left out."""
    square = Square(image_size=size, channels=3)
    return np.stack(
        [pixels for file in files if (pixels := read_square(file, square)[1]) is not None]
    )


def write_images(folder: Path, name: str, images: np.ndarray) -> None:
    """Write images, uint8 [N, H, W, 3], as one array and as a folder of PNG files."""
    (folder / "png").mkdir(parents=True)
    np.save(folder / name, images)
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / "png" / f"{index:06}.png")


def weights_of(args: argparse.Namespace, folder: Path) -> tuple[Path, str]:
    """Put the weights where the peers' programs look for them; return their path and sha256."""
    cache = folder / "torch" / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    weights = cache / CACHED_NAMES[0]
    if args.weights is None:
        # A process of its own: a process inherits the peak memory of the one that starts it.
        make = [sys.executable, ROOT / "tests" / "helpers" / "inception_weights.py"]
        subprocess.run([*make, "--images", args.images, "--output", weights], check=True)
    else:
        weights.write_bytes(args.weights.read_bytes())
    (cache / CACHED_NAMES[1]).hardlink_to(weights)
    return weights, hashlib.sha256(weights.read_bytes()).hexdigest()


# The sides


def program(work: Scoring, turn: Turn, *command: str | Path) -> str:
    """Run a program, add its time and memory to the turn, and return its output.

    Raises UserError if it fails.
    """
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(work.threads),
        "TORCH_HOME": str(work.folder / "torch"),
        "CUDA_VISIBLE_DEVICES": "",
    }
    log = work.folder / "log"
    began = time.perf_counter()
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            text=True,
        )
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)  # with its loader processes
        process.returncode = os.waitstatus_to_exitcode(status)
    turn.seconds += time.perf_counter() - began
    turn.peak_memory = max(turn.peak_memory, used.ru_maxrss * 1024)
    if process.returncode:
        raise UserError(f"{' '.join(map(str, command[:3]))} failed:\n{log.read_text()[-2000:]}")
    return printed


def ours(work: Scoring) -> Turn:
    """Score with the workflow's programs: the reference once, then each checkpoint."""
    turn = Turn()
    features = {"version": 1, "features": "inception", "weights_sha256": work.weights_sha256}
    if work.weights_sha256 != PUBLISHED_INCEPTION_SHA256:
        features["weights_name"] = "random"
    how = json.dumps({"cpus": work.threads, "batch_size": work.batch_size})
    common = ("--how", how, "--weights", work.weights)
    reference = work.folder / "train.npz"
    program(
        *(work, turn, SCRIPTS / "reference_features.py", "--what", json.dumps(features), *common),
        *("--images", work.folder / "reference" / "train.npy", "--output", reference),
    )
    what = {
        **{"version": 1, "images": work.generated, "reference": "train", "features": features},
        "measuring": {"kid_subset_size": work.kid_subset_size},
    }
    for checkpoint in range(work.checkpoints):
        (samples,) = (work.folder / f"checkpoint-{checkpoint}").glob("*.npy")
        output = work.folder / f"scores-{checkpoint}.json"
        program(
            *(work, turn, SCRIPTS / "score.py", "--what", json.dumps(what), *common),
            *("--samples", samples, "--reference", reference, "--train", reference),
            *("--output", output, "--nearest", work.folder / "nearest.npz"),
        )
        turn.scores.append(json.loads(output.read_text()))
    return turn


def pytorch_fid(work: Scoring) -> Turn:
    """Score each checkpoint with the program of pytorch-fid."""
    turn = Turn()
    for checkpoint in range(work.checkpoints):
        printed = program(
            *(work, turn, "-m", "pytorch_fid", work.folder / f"checkpoint-{checkpoint}" / "png"),
            *(work.folder / "reference" / "png", "--batch-size", str(work.batch_size)),
        )
        turn.scores.append({"fid": float(printed.split("FID:")[1])})
    return turn


def torch_fidelity(work: Scoring) -> Turn:
    """Score each checkpoint with the program of torch-fidelity."""
    turn = Turn()
    for checkpoint in range(work.checkpoints):
        printed = program(
            *(work, turn, "-m", "torch_fidelity.fidelity", "--cpu", "--json", "--silent"),
            *("--fid", "--kid", "--isc", "--prc", "--feature-extractor", "inception-v3-compat"),
            *("--input1", work.folder / f"checkpoint-{checkpoint}" / "png"),
            *("--input2", work.folder / "reference" / "png"),
            *("--batch-size", str(work.batch_size), "--cache-root", work.folder / "cache"),
            *("--kid-subset-size", str(work.kid_subset_size)),
        )
        turn.scores.append(json.loads(printed[printed.index("{") :]))
    return turn


SIDES = {"ours": ours, "pytorch_fid": pytorch_fid, "torch_fidelity": torch_fidelity}


# Comparison


def compared(rounds: list[dict[str, Turn]]) -> dict[str, object]:
    """Return ratios of seconds, and relative differences of scores from torch-fidelity's."""
    result: dict[str, object] = {}
    peers = {
        "": ("pytorch_fid", "torch_fidelity"),
        "_pytorch_fid": ("pytorch_fid",),
        "_torch_fidelity": ("torch_fidelity",),
    }
    for suffix, names in peers.items():
        ratios = [
            sum(turns[name].seconds for name in names) / turns["ours"].seconds for turns in rounds
        ]
        result[f"ratio{suffix}_median"] = round(statistics.median(ratios), 3)
        result[f"ratio{suffix}_min"] = round(min(ratios), 3)
        result[f"ratio{suffix}_max"] = round(max(ratios), 3)
    for name in SIDES:
        seconds = statistics.median(turns[name].seconds for turns in rounds)
        result[f"seconds_{name}"] = round(seconds, 2)
        peak = max(turns[name].peak_memory for turns in rounds)
        result[f"peak_memory_mb_{name}"] = round(peak / 1e6, 1)
    for name, their_name in THEIR_NAMES.items():
        differences = [
            abs(our[name] - their[their_name]) / max(abs(their[their_name]), 1e-12)
            for turns in rounds
            for our, their in zip(turns["ours"].scores, turns["torch_fidelity"].scores, strict=True)
        ]
        result[f"relative_difference_{name}"] = float(f"{max(differences):.2e}")
    last = rounds[-1]["torch_fidelity"].scores[-1]
    result["scores_torch_fidelity"] = {name: last[theirs] for name, theirs in THEIR_NAMES.items()}
    result["fid_pytorch_fid"] = rounds[-1]["pytorch_fid"].scores[-1]["fid"]
    return result


def measure(args: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Let the sides score in turns and return the result."""
    work = prepare(args, folder)
    rounds = []
    for index in range(args.pairs):
        turns = {}
        for name in list(SIDES) if index % 2 else list(SIDES)[::-1]:
            turns[name] = SIDES[name](work)
            print(f"pair {index + 1}, {name}: {turns[name].seconds:.1f} s", flush=True)
        rounds.append(turns)
    return {
        **compared(rounds),
        "pairs": args.pairs,
        "scale": args.scale,
        "checkpoints": work.checkpoints,
        "images_generated": work.generated,
        "images_reference": work.reference,
        "image_size": args.image_size,
        "kid_subset_size": work.kid_subset_size,
        "weights": "random, calibrated" if args.weights is None else args.weights.name,
    }


# Memory


CLASSIFIER = """
import sys, torch
from pathlib import Path
from ddpm_bench.scoring.features.classifier import ClassifierNetwork, write_classifier
keys = {"channels": 3, "image_size": 16, "features": 2048, "labels": list("0123456789")}
network = ClassifierNetwork(3, 16, 2048, 10).eval()
write_classifier(Path(sys.argv[1]), network, keys | {"accuracy_eval": 0.1})
"""


def memory(args: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Return the peak memory of reference_features.py on many images."""
    command = [sys.executable, "-c", CLASSIFIER, folder / "classifier"]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(SCRIPTS)})
    shape = (args.memory_images, 16, 16, 3)
    images = np.lib.format.open_memmap(folder / "train.npy", "w+", np.uint8, shape)
    random = np.random.default_rng(0)
    for first in range(0, len(images), 1000):
        part = images[first : first + 1000]
        part[:] = random.integers(0, 256, part.shape)
    images.flush()
    work = Scoring(folder, 0, 0, len(images), folder, "", args.batch_size, args.threads)
    turn = Turn()
    program(
        *(work, turn, SCRIPTS / "reference_features.py", "--images", folder / "train.npy"),
        *("--what", json.dumps({"version": 1, "features": "classifier"})),
        *("--how", json.dumps({"cpus": args.threads, "batch_size": args.batch_size})),
        *("--weights", folder / "classifier" / "classifier.safetensors"),
        *("--output", folder / "train.npz"),
    )
    return {
        "peak_memory_mb_ours": round(turn.peak_memory / 1e6, 1),
        "seconds_ours": round(turn.seconds, 1),
        "images": args.memory_images,
        "dimensions": 2048,
        "network": "a random classifier of 16x16 images; Inception's own tensors come on top",
    }


def main() -> None:
    """Run the comparison, or the measurement of memory, and print its result."""
    args = arguments()
    load = load_before()
    with tempfile.TemporaryDirectory() as folder:
        found = (memory if args.memory else measure)(args, Path(folder))
    packages = ("torch", "torch-fidelity", "pytorch-fid", "numpy", "scipy")
    result = {
        "comparison": "score",
        **found,
        "batch_size": args.batch_size,
        "threads": args.threads,
        "precision": "fp32",
        **{name.replace("-", "_"): importlib.metadata.version(name) for name in packages},
        "machine": f"{len(os.sched_getaffinity(0))} cores, {processor()}",
        "load_before": round(load, 2),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    run(main)
