"""The embedded handwritten digits as a prepared dataset, for tests of what comes after."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

COLUMNS = ["source", "split", "position", "label", "width", "height", "mode", "sha256", "left_out"]


def digits(image_size: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """All 1,797 digits, uint8 [N, size, size, 1], in shuffled order, and their labels [N]."""
    bunch = load_digits()
    small = (bunch.images * 255 / 16).round().astype(np.uint8)
    size = (image_size, image_size)
    resized = [
        np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)) for image in small
    ]
    order = np.random.default_rng(0).permutation(len(small))
    return np.stack(resized)[order, ..., None], bunch.target[order]


def write_dataset(
    folder: Path, splits: dict[str, tuple[np.ndarray, list[str]]], left_out: tuple[str, ...] = ()
) -> Path:
    """Write images uint8 [N, H, W, C] and their labels as a prepared dataset's folder."""
    folder.mkdir(parents=True)
    rows: list[dict[str, object]] = []
    for split, (images, labels) in splits.items():
        np.save(folder / f"{split}.npy", images)
        rows += [
            {
                "source": f"{split}-{position}.png",
                "split": split,
                "position": position,
                "label": label,
            }
            for position, label in enumerate(labels)
        ]
    rows += [
        {"source": f"{name}.png", "split": "train", "label": name, "left_out": "truncated"}
        for name in left_out
    ]
    with (folder / "images.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return folder


def write_digits(
    folder: Path, train: int = 1437, held_out: int = 360, image_size: int = 16
) -> Path:
    """A prepared dataset of the first `train` digits, and of `held_out` others."""
    images, targets = digits(image_size)
    labels = [str(target) for target in targets]
    last = train + held_out
    splits = {
        "train": (images[:train], labels[:train]),
        "eval": (images[train:last], labels[train:last]),  # an array of no images for held_out=0
    }
    return write_dataset(folder, splits)
