"""Arrays of images in .npy files: samples of a checkpoint, and prepared datasets.

All arrays are uint8 [N, H, W, C] with C 1 or 3, and are mapped into memory.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ddpm_bench.errors import UserError
from ddpm_bench.records.checksums import open_array


def open_images(paths: Sequence[Path]) -> list[np.ndarray]:
    """Open files of images of one shape, any number in each.

    Raises UserError naming the file that cannot be read, holds something else, or holds images of
    another shape than the first.
    """
    arrays = [_open(path) for path in paths]
    for path, array in zip(paths, arrays, strict=True):
        if array.shape[1:] != arrays[0].shape[1:]:
            raise UserError(
                f"{path}: its images are {list(array.shape[1:])} and those of {paths[0]} are "
                f"{list(arrays[0].shape[1:])}; make both from one config"
            )
    return arrays


def open_sample_file(path: Path) -> np.ndarray:
    """Open one file of images. Raises UserError when it holds none, or something else."""
    images = _open(path)
    if len(images) == 0:
        raise UserError(f"{path}: holds no images; draw them again")
    return images


def open_samples(paths: Sequence[Path], count: int) -> list[np.ndarray]:
    """Open the first `count` samples of files named images-<first>-<last>.npy, in any order.

    Raises UserError when the files do not follow each other from image 0 on, when one holds another
    number of images than its name says, or when all together hold fewer than `count`.
    """
    ordered = in_order(paths)
    arrays = open_images(ordered)
    for path, array in zip(ordered, arrays, strict=True):
        first, last = _first_and_last(path)
        if len(array) != last + 1 - first:
            raise UserError(
                f"{path}: holds {len(array)} images and its name says {last + 1 - first}; "
                "draw it again"
            )
    given = sum(map(len, arrays))
    if given < count:
        raise UserError(f"{count} samples are asked for and {given} are given; draw the rest")
    return arrays


def samples_of(folder: Path) -> list[Path]:
    """Return the files images-<first>-<last>.npy of a checkpoint, in order.

    Raises UserError when there are none, or when they do not follow each other from image 0 on.
    """
    files = list(folder.glob("images-*.npy"))
    if not files:
        raise UserError(
            f"{folder}: holds no images-*.npy; give the folder of one set and checkpoint, "
            "<experiment>/samples/<set>/step-<step>, of a dataset, datasets/<dataset>, or files"
        )
    return in_order(files)


def is_prepared_dataset(folder: Path) -> bool:
    """Return True for the folder of a prepared dataset."""
    return all(file.is_file() for file in dataset_files(folder, "all"))


def dataset_files(folder: Path, split: str) -> list[Path]:
    """Return the files of a split of a prepared dataset: train, eval, or all, training first."""
    splits = ("train", "eval") if split == "all" else (split,)
    return [folder / f"{name}.npy" for name in splits]


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Return files named images-<first>-<last>.npy in the order of their images.

    Raises UserError when they do not follow each other from image 0 on.
    """
    ordered = sorted(paths, key=lambda path: (*_first_and_last(path), path))
    following = 0
    for path in ordered:
        first, last = _first_and_last(path)
        if first != following:
            raise UserError(
                f"{path}: begins at image {first}; the file with image {following} is missing: "
                "finish the sampling, or name the files to take"
            )
        following = last + 1
    return ordered


def _first_and_last(path: Path) -> tuple[int, int]:
    """Return the positions of the first and the last image of a file from its name."""
    match = re.fullmatch(r"images-(\d+)-(\d+)\.npy", path.name)
    if match is None:
        raise UserError(f"{path}: samples are named images-<first>-<last>.npy")
    return int(match[1]), int(match[2])


def _open(path: Path) -> np.ndarray:
    """Map a file of images into memory; raise UserError if it is damaged or none."""
    array = open_array(path)
    if array.dtype == np.uint8 and array.ndim == 4 and array.shape[3] in (1, 3):
        return array
    found = f"{array.dtype} {list(array.shape)}"
    if array.dtype != np.uint8 and array.dtype.kind in "iuf" and array.size:
        found += f" with values from {array.min():g} to {array.max():g}"
    raise UserError(
        f"{path}: holds {found}; images are uint8 [N, H, W, C] from 0 to 255 with 1 or 3 channels"
    )
