"""Images to features: the images on disk, and a network's pass over them."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ddpm_bench.config.scoring import ScoreRun
from ddpm_bench.devices import usable_cores
from ddpm_bench.errors import UserError
from ddpm_bench.spaces import FeatureSpace

# Images


def open_images(paths: Sequence[Path]) -> list[np.ndarray]:
    """Memory-map arrays of uint8 images [N, H, W, C], C 1 or 3, all of one shape but N."""
    arrays: list[np.ndarray] = []
    for path in paths:
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read as images ({error}); make it again") from None
        _check_images(path, array)
        if arrays and array.shape[1:] != arrays[0].shape[1:]:
            raise UserError(
                f"{path}: its images are {list(array.shape[1:])} and those of {paths[0]} are "
                f"{list(arrays[0].shape[1:])}; make both from one config"
            )
        arrays.append(array)
    return arrays


def _check_images(path: Path, array: np.ndarray) -> None:
    """UserError when an array is no uint8 images [N, H, W, C]."""
    if array.dtype == np.uint8 and array.ndim == 4 and array.shape[3] in (1, 3):
        return
    held = f"{array.dtype} {list(array.shape)}"
    if array.dtype != np.uint8 and array.dtype.kind in "iuf" and array.size:
        held += f" with values from {array.min():g} to {array.max():g}"
    raise UserError(
        f"{path}: holds {held}; images are uint8 [N, H, W, C] from 0 to 255 with 1 or 3 channels"
    )


def open_samples(paths: Sequence[Path], count: int) -> list[np.ndarray]:
    """Memory-map the first `count` samples of files named images-<first>-<last>.npy.

    The files may be given in any order. Raises UserError when they do not follow each other from
    image 0 on, when one holds another number of images than its name says, or when all together
    hold fewer than `count`.
    """
    named = sorted((*_first_and_last(path), path) for path in paths)
    held = open_images([path for _, _, path in named])
    here = 0
    for (first, last, path), array in zip(named, held, strict=True):
        if first != here:
            raise UserError(
                f"{path}: begins at image {first}; the file with image {here} is missing"
            )
        if len(array) != last + 1 - first:
            raise UserError(
                f"{path}: holds {len(array)} images and its name says {last + 1 - first}; "
                "draw it again"
            )
        here = last + 1
    if here < count:
        raise UserError(f"{count} samples are asked for and {here} are given; draw the rest")
    return held


def _first_and_last(path: Path) -> tuple[int, int]:
    match = re.fullmatch(r"images-(\d+)-(\d+)\.npy", path.name)
    if match is None:
        raise UserError(f"{path}: samples are named images-<first>-<last>.npy")
    return int(match[1]), int(match[2])


def _batches(arrays: Sequence[np.ndarray], count: int, size: int) -> Iterator[np.ndarray]:
    """The first `count` images in batches that do not depend on how they are cut into files."""
    parts: list[np.ndarray] = []
    missing = min(size, count)
    for array in arrays:
        here = 0
        while missing and here < len(array):
            part = array[here : here + missing]
            parts.append(part)
            here, missing, count = here + len(part), missing - len(part), count - len(part)
            if missing == 0:
                yield np.concatenate(parts)
                parts, missing = [], min(size, count)


# Passes


def computing_device(run: ScoreRun) -> torch.device:
    """The GPU where there is one, else `run.cpus` cores; in float32 proper on both.

    PyTorch's default rounds the inputs of convolutions on GPUs to 10 bits of mantissa (TF32),
    which would move scores by more than they may differ from the field's.
    """
    torch.set_num_threads(usable_cores(run.cpus))
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@torch.inference_mode()
def extract(
    space: FeatureSpace,
    arrays: Sequence[np.ndarray],
    count: int,
    batch_size: int,
    device: torch.device,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Features [count, D] and logits [count, K], float32, of the first `count` images.

    `arrays` hold uint8 images [N, H, W, C]. The logits are None where the network has none. Raises
    UserError when the network takes other shapes, or gives a feature that is not finite.
    """
    shape = arrays[0].shape[1:]
    if space.image_shape is not None and shape != space.image_shape:
        raise UserError(
            f"images are {list(shape)} (H, W, C) and the {space.name} takes "
            f"{list(space.image_shape)}; both must come from one dataset"
        )
    features = np.empty((count, space.dimensions), np.float32)
    logits: np.ndarray | None = None
    here = 0
    with tqdm(total=count, desc=f"{space.name} features", unit="image") as progress:
        for images in _batches(arrays, count, batch_size):
            pixels = torch.from_numpy(images).permute(0, 3, 1, 2).to(device)
            batch_features, batch_logits = space.network(pixels)
            rows = slice(here, here + len(images))
            features[rows] = batch_features.cpu().numpy()
            _check_finite(space, features[rows], here)
            if batch_logits is not None:
                if logits is None:  # whole at once: a list of batches would need twice the memory
                    logits = np.empty((count, batch_logits.shape[1]), np.float32)
                logits[rows] = batch_logits.cpu().numpy()
            here += len(images)
            progress.update(len(images))
    assert here == count
    return features, logits


def _check_finite(space: FeatureSpace, features: np.ndarray, first: int) -> None:
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        raise UserError(
            f"image {first + int(finite.argmin())} has {space.name} features that are not finite, "
            f"so there are no scores: the weights (sha256 {space.weights_sha256}) are broken; "
            "fetch or train them again"
        )
