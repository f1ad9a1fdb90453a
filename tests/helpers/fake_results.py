"""Realistic results on disk, without a training: scores, losses and samples."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

CLASSIFIER = {
    "feature_space": "classifier",
    "feature_dimensions": 64,
    "weights_sha256": "a" * 64,
    "classifier_accuracy": 0.9833,
}
INCEPTION = {
    "feature_space": "inception",
    "feature_dimensions": 2048,
    "weights_sha256": "b" * 64,
    "classifier_accuracy": None,
}
SMALL_REFERENCE = (
    "FID: the reference has 1437 images for 2048 dimensions: it is biased upwards, read KID"
)


def score(progress: float, wobble: float = 0.0, **changed: Any) -> dict[str, Any]:
    """The JSON of one score at a share `progress` of a training, 0 to 1."""
    fall = math.exp(-4 * progress)
    return {
        **CLASSIFIER,
        "reference": "train",
        "fid_reference": changed.get("reference", "train"),
        "fid_backend": "torch-fidelity",
        "images_generated": 512,
        "images_reference": 1437,
        "fid": 7.0 + 60.0 * fall + wobble,
        "fid_std": 0.4 + 2.0 * fall,
        "is_mean": 9.2 - 4.0 * fall - wobble / 20,
        "is_std": 0.21,
        "kid_mean": 0.004 + 0.09 * fall + wobble / 900,
        "kid_std": 0.0021,
        "kid_subset_size": 512,
        "precision": 0.82 - 0.5 * fall,
        "recall": 0.74 - 0.6 * fall,
        "density": 0.9 - 0.7 * fall,
        "coverage": 0.85 - 0.7 * fall,
        "nearest_generated": 3.1 + 2.0 * fall,
        "nearest_heldout": 3.2,
        "closer_than_heldout": 0.52 - 0.4 * fall,
        "memorised_share": 0.06 - 0.05 * fall,
        "memorised_chance_low": 0.023,
        "memorised_chance_high": 0.082,
        "images_heldout": 360,
        "channels_repeated": True,
        "warning": "",
        **changed,
    }


def write_score(
    results: Path, experiment: str, samples: str, name: str, step: int, record: dict[str, Any]
) -> Path:
    """Write one score where the pipeline puts it."""
    path = results / experiment / "scores" / name / samples / f"step-{step:08}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))
    return path


def write_scores(
    results: Path,
    experiment: str = "digits",
    *,
    checkpoints: int = 4,
    every: int = 300,
    samples: tuple[str, ...] = ("dpm20",),
    name: str = "classifier",
    **changed: Any,
) -> list[Path]:
    """Scores of each set at each checkpoint; the sets and checkpoints differ a little."""
    noise = np.random.default_rng(0)
    return [
        write_score(
            results, experiment, one, name, number * every,
            score(number / checkpoints, 1.5 * index + noise.normal(0, 0.6), **changed),
        )
        for index, one in enumerate(samples)
        for number in range(1, checkpoints + 1)
    ]  # fmt: skip


def write_losses(
    path: Path, *, rows: int = 120, every: int = 10, batch: int = 64, worse: float = 0.0
) -> Path:
    """A training's metrics.csv whose loss falls as diffusion losses do."""
    noise = np.random.default_rng(1)
    lines = ["step,images_seen,loss,learning_rate"]
    for number in range(1, rows + 1):
        loss = (0.05 + worse / 100 + 0.9 * math.exp(-number / 12)) * math.exp(noise.normal(0, 0.15))
        lines.append(f"{number * every},{number * every * batch},{loss!r},0.002")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def write_validation(path: Path, losses: dict[int, tuple[float, float]]) -> Path:
    """A job's validation losses: held-out and training, by the checkpoint's step."""
    lines = ["step,images,eval_loss,train_loss,gap_standard_error"]
    lines += [f"{step},360,{held!r},{train!r},0.0008" for step, (held, train) in losses.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def write_samples(
    results: Path,
    experiment: str,
    step: int,
    *,
    images: int = 16,
    size: int = 16,
    channels: int = 1,
    first: int = 0,
    samples: str = "dpm20",
) -> Path:
    """A file of samples of one checkpoint: a ring per image, the sharper the later the step."""
    noise = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] / (size - 1) - 0.5
    rings = []
    for index in range(first, first + images):
        ring = 255 * np.exp(-((np.hypot(x, y) - 0.05 - 0.04 * (index % 8)) ** 2) / 0.004)
        rough = noise.uniform(0, 255, (size, size)) * math.exp(-step / 500)
        rings.append(np.clip(ring + rough, 0, 255).astype(np.uint8))
    array = np.stack(rings)[..., None].repeat(channels, axis=3)
    folder = results / experiment / "samples" / samples / f"step-{step:08}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"images-{first:06}-{first + images - 1:06}.npy"
    np.save(path, array)
    return path


def write_timing(
    results: Path, samples: str, step: int, seconds: float, *, images: int = 16, **changed: Any
) -> Path:
    """Write the timing of a file of samples; `seconds` is of one image."""
    folder = results / "digits" / "samples" / samples / f"step-{step:08}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"images-000000-{images - 1:06}.json"
    timing = {
        "images": images,
        "seconds": seconds * images,
        "batch_size": 64,
        "precision": "fp32",
        "device": "NVIDIA H200",
        "network_evaluations": 20,
    }
    path.write_text(json.dumps({**timing, **changed}))
    return path


def write_nearest(
    results: Path, name: str, step: int, *, images: int = 16, trained: int = 20, heldout: int = 30
) -> Path:
    """Distances to training images, of a set and of images held out."""
    noise = np.random.default_rng(3)
    path = results / "digits" / "scores" / name / "dpm20" / f"step-{step:08}.nearest.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        generated_distance=noise.gamma(4, 1, images).astype(np.float32),
        nearest_train=noise.integers(0, trained, images),
        heldout_distance=noise.gamma(4, 1, heldout).astype(np.float32),
    )
    return path
