"""Feature spaces of the GPU check that need no download, and the images that they compare."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ddpm_bench.cli import PROJECT
from ddpm_bench.config.dataset import PrepareStage, SklearnDigits
from ddpm_bench.config.scoring import PUBLISHED_INCEPTION_SHA256, FeatureStage
from ddpm_bench.data.fetching import fetch
from ddpm_bench.data.preparing import prepare
from ddpm_bench.files import write_json
from ddpm_bench.gpu_check.part import SCRIPTS, Setting, run_program
from ddpm_bench.gpu_check.photographs import CPUS, prepared_dataset
from ddpm_bench.records.layout import INCEPTION_WEIGHTS

NOISE = 8.0  # grey levels, that tell "generated" images from real ones
CALIBRATION_IMAGES = 24
CLASSIFIER = {"steps": 60}


@dataclass(frozen=True)
class SpaceInputs:
    """A feature space with its weights, and images uint8 [N, H, W, C].

    Without a reference only features are compared.
    """

    stage: FeatureStage
    weights: Path
    generated: np.ndarray
    reference: np.ndarray | None = None
    heldout: np.ndarray | None = None


def space_inputs(setting: Setting) -> dict[str, Callable[[], SpaceInputs]]:
    """Return functions that make the inputs of each feature space, by its name."""
    return {
        "classifier": lambda: _classifier(setting),
        "inception": lambda: _inception(setting),
        "dinov2": lambda: _dinov2(setting),
    }


def noisy(images: np.ndarray) -> np.ndarray:
    """Return images with noise, which stand for generated ones: uint8 [N, H, W, C]."""
    noise = np.random.default_rng(0).normal(0, NOISE, images.shape)
    return (images + noise).clip(0, 255).astype(np.uint8)


def _classifier(setting: Setting) -> SpaceInputs:
    """Train a classifier of handwritten digits by train_classifier.py."""
    dataset = setting.folder / "digits"
    source = SklearnDigits(kind="sklearn-digits")
    fetched = setting.folder / "digits.json"
    write_json(fetched, fetch(source, setting.folder / "digits-files"))
    size = {"image_size": 16, "channels": 1, "eval_fraction": 0.3}
    prepare(PrepareStage(version=1, kind="sklearn-digits", **size), CPUS, fetched, dataset)
    output = setting.folder / "classifier"
    what = {"version": 1, "classifier": CLASSIFIER}
    program = SCRIPTS / "train_classifier.py"
    run_program(program, "--what", what, "--dataset", dataset, "--output", output)
    train, heldout = (np.load(dataset / f"{split}.npy") for split in ("train", "eval"))
    return SpaceInputs(
        stage=FeatureStage(version=1, features="classifier"),
        weights=output / "classifier.safetensors",
        generated=noisy(heldout[:256]),
        reference=train[:512],
        heldout=heldout[256:512],
    )


def _inception(setting: Setting) -> SpaceInputs:
    """Take the published Inception where it lies below resources/, and else draw weights."""
    train, heldout = _photographs(setting)
    weights = PROJECT / "resources" / INCEPTION_WEIGHTS
    keys = {"weights_sha256": PUBLISHED_INCEPTION_SHA256}
    if not weights.exists():
        import torch

        from ddpm_bench.gpu_check.untrained_networks import calibrated_inception

        pixels = torch.from_numpy(train[:CALIBRATION_IMAGES]).permute(0, 3, 1, 2)
        weights, keys = _written(setting, "untrained", calibrated_inception(pixels))
    stage = FeatureStage(version=1, features="inception", **keys)
    if not setting.gpu:
        return SpaceInputs(stage, weights, noisy(heldout[:8]))
    return SpaceInputs(stage, weights, noisy(heldout), train[:128], heldout)


def _dinov2(setting: Setting) -> SpaceInputs:
    """Draw the weights of the smallest DINOv2."""
    from ddpm_bench.gpu_check.untrained_networks import drawn_dinov2

    name = "vit-s-14"
    weights, keys = _written(setting, name, drawn_dinov2(name))
    _, heldout = _photographs(setting)
    stage = FeatureStage(version=1, features="dinov2", **keys)
    return SpaceInputs(stage, weights, heldout[: 32 if setting.gpu else 4])


def _photographs(setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Return training and held-out photographs, uint8 [N, H, W, 3]."""
    dataset = prepared_dataset(setting)
    return np.load(dataset / "train.npy"), np.load(dataset / "eval.npy")


def _written(setting: Setting, name: str, content: bytes) -> tuple[Path, dict[str, str]]:
    """Write weights into a file; return it with the keys of its feature stage."""
    path = setting.folder / f"{name}.weights"
    path.write_bytes(content)
    return path, {"weights_sha256": hashlib.sha256(content).hexdigest(), "weights_name": name}
